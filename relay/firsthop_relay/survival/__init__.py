"""How flows outlive a process: journal, take-over by a successor, Redis."""
