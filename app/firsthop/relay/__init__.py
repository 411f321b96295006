"""The process of a relay: sockets, workers, watched files, metrics, take-over."""
