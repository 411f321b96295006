"""The edge: a supervisor that follows snapshots and compiles tables, and workers that answer."""
