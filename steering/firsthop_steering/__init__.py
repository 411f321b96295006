"""Selects a relay for a client. Pure: time and chance are arguments, and nothing does I/O."""
