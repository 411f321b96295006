"""The decision: which region and which relays a client gets, and why."""
