"""Tickets with which browsers measure round trips, and the samples that they send back."""
