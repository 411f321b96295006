"""The edge: a supervisor that follows snapshots and compiles, and workers that answer."""
