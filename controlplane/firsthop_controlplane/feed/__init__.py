"""The newest snapshots, and the readers they are streamed to."""
