"""The flow table and what it decides by. Pure."""
