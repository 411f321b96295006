"""Which replica leads: election, lease, term, and how standbys follow."""
