"""Samples of round-trip times: taken in, kept, learned from, and published as a snapshot."""
