"""What two processes need to talk: listening sockets, and calls to a control plane."""
