"""Which relay? The pure core: no sockets, no clocks, no randomness."""
