"""The tables, how they are reached, and how they are read as one document."""
