"""A deployment spread over network namespaces: every group of processes at a place of its own."""
