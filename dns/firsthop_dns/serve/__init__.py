"""UDP and TCP sockets, connections and their limits."""
