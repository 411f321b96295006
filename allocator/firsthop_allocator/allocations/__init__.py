"""Which relays and which credential a session gets. Pure."""
