"""Selects a relay for a client. Pure: time and randomness are arguments, and nothing does I/O."""
