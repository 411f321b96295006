"""Active checks of every target from one vantage."""
