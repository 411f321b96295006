"""One relay worker: its files, its metrics, its life."""
