"""Snapshots compiled to table files."""
