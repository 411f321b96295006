"""Reports of a relay's agent and of a transceiver: load, drain, crash, stop."""
