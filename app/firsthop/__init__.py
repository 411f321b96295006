"""The composition root: commands, settings, the edge's processes, and `firsthop up`."""
