"""`python -m worker`."""

import argparse
import sys

from worker.main import main

ABOUT = """Deliver notifications; compute metrics, write summaries and delete what is old.
BOTFLEET_* configure it: docs/reference/settings.md."""

if __name__ == "__main__":
    argparse.ArgumentParser(prog="worker", description=ABOUT).parse_args()
    sys.exit(main())
