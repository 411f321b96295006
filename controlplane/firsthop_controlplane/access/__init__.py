"""Credential keys, bearer tokens, and the files that hold secrets."""
