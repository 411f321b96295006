"""Geolocation: MaxMind databases compiled to packed prefix tables, and look-ups in them."""
