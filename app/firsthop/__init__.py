"""The composition root: commands, settings, the edge's processes, and everything on one machine."""
