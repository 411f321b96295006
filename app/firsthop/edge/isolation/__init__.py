"""An edge without its control plane: relays' own load, prices of its own."""
