"""`python -m firsthop`."""

from firsthop.cli import main

main()
