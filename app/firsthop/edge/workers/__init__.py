"""An edge's worker processes and the sockets that they share."""
