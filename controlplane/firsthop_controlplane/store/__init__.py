"""The tables, the connection to them, and their conversion to one document."""
