"""Explains decisions, finds counterfactuals and simulates changes."""
