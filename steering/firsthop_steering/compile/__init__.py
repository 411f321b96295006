"""Compiles the decisions for all clients at once into answer tables."""
