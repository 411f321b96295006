"""Hosts that an operator names to stand for the clients of their prefix, measured by an agent.

Nobody else is ever measured unasked: docs/decisions/0021.
"""
