"""Round-trip times learned from samples: estimates for client groups to every relay region."""
