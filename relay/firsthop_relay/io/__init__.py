"""Sockets: UDP, ICE-TCP, upstream legs."""
