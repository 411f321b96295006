"""HTTP allocator: the relays nearest to a client, and ICE credentials for its session."""
