"""`python -m edc`."""

from edc.cli import main

main()
