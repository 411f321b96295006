"""One relay worker: its life cycle, its metrics, and key and route files."""
