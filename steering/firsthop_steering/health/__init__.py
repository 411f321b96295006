"""Decides whether a relay is up: views, quorum, damping, depool limits, slow start."""
