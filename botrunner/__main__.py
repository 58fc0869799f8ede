"""`python -m botrunner --bot-id N --epoch M`."""

import os
import sys
from contextlib import suppress

from botrunner.process.signals import listen


def _run() -> int:
    stop_signals = listen()  # before the imports, which take a while
    from botrunner.main import main

    return main(stop_signals=stop_signals)


if __name__ == "__main__":
    try:
        code = _run()
    except SystemExit as error:  # of argparse
        code = error.code if isinstance(error.code, int) else 1
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    # the run is over: a strategy's threads and exit handlers can neither keep the process nor change its exit code
    os._exit(code)
