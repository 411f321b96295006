"""The former home of `firsthop_net.listening`."""

from firsthop_net.listening import ListenError, bind_tcp, bind_udp

__all__ = ["ListenError", "bind_tcp", "bind_udp"]
