"""Everything on one machine: PostgreSQL, control plane, edge, probers, relays and their agents."""
