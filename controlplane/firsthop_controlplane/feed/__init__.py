"""The newest snapshot of each kind, and their stream to readers."""
