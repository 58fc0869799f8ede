"""`python -m controller`."""

import argparse
import sys

from controller.main import main

ABOUT = """Start, watch and end a pod for each enabled row of trading_bots.
BOTFLEET_* configure it: docs/reference/settings.md."""

if __name__ == "__main__":
    argparse.ArgumentParser(prog="controller", description=ABOUT).parse_args()
    sys.exit(main())
