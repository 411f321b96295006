"""Communication between processes: listening sockets, and calls to a control plane."""
