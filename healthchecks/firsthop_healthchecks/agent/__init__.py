"""Reports from beside a relay or a transceiver: load, drain, crash, stop."""
