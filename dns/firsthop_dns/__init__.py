"""The DNS server of an edge: wire parser, responder, compiled zones, UDP and TCP shells."""
