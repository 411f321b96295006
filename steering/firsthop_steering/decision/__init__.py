"""The decision for one client: its region, its relays, and the reason."""
