"""The control plane: configuration, health, learning and planning, and the snapshot feed."""
