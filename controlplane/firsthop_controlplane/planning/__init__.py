"""Prices: from what edges answer and relays can carry to what each region is charged."""
