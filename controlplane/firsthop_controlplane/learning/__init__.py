"""The leader's loops over samples and demand: learned latency, exploration, prices."""
