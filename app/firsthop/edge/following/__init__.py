"""Where an edge's inputs come from: the feed and its copy on disk, a document, geo databases."""
