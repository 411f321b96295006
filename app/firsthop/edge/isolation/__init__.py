"""An edge without its control plane: detection, loads of relays, its own prices."""
