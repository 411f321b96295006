"""How flows outlive a process: journal, hand-over to a successor, Redis."""
