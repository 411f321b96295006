"""Sockets: UDP, ICE-TCP, one upstream socket per flow."""
