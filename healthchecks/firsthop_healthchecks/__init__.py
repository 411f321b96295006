"""Health checks: probes, the prober that runs them, and the agent beside a relay."""
