"""The newest snapshot of each kind, and the readers that they are streamed to."""
