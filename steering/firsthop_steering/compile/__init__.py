"""The decision for all clients at once: answer tables."""
