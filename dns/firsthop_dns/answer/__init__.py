"""From one query to one reply."""
