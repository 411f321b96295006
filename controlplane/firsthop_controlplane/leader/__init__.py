"""Leader election, the leader's term and numbering, and how standbys follow the leader."""
