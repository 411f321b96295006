"""Random faults in a whole deployment while clients ask, and what must hold all the time."""
