"""`python -m metier.cli` is the command `metier`."""

from metier.cli import main

main()
