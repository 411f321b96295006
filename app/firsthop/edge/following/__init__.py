"""The sources of an edge's inputs: feed and snapshot store, document files, geo databases."""
