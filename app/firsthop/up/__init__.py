"""A deployment on one machine: PostgreSQL, control plane, edge, probers, relays, agents."""
