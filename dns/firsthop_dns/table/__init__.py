"""The DNS part of a table file: its layout, and reading it."""
