"""Compiles table files from snapshots, and puts them in force."""
