"""Where an edge's snapshots come from: the feed, its disk, or a file."""
