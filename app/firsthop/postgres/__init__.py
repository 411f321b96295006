"""A PostgreSQL of our own, for where no URL is given."""
