"""Sessions opened at a transceiver on a client's behalf."""
