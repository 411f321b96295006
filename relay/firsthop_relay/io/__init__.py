"""Sockets: UDP, ICE-TCP, one upstream socket a flow."""
