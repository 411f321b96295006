"""Explanations, counterfactuals and simulated changes."""
