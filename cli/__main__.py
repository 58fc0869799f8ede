"""`python -m cli` is `botfleet`."""

from cli.main import main

main()
