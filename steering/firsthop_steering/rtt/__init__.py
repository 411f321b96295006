"""Round-trip times learned from samples: what a client group may expect of every relay region."""
