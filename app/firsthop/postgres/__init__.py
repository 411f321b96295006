"""Our own PostgreSQL server, used if no database URL is given."""
