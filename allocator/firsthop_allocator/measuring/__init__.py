"""Tickets that browsers measure round trips by, and the samples they send back."""
