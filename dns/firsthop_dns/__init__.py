"""The DNS edge: wire parser, responder, UDP and TCP shells, zones. `respond` is its one door in."""
