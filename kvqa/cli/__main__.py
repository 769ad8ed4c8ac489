"""`python -m kvqa.cli`."""

from kvqa.cli import main

main()
