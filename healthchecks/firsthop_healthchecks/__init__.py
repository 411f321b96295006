"""Is it alive, and how busy? Probes, the prober that runs them, and the agent beside a relay."""
