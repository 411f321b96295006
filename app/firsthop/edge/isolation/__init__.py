"""An edge without its control plane: detection, relays' loads, prices of its own."""
