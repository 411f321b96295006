"""Where is this address? MaxMind databases compiled to packed prefix tables, and look-ups."""
