"""`python -m botrunner --bot-id N --epoch M`."""

import sys

from botrunner.main import main

sys.exit(main())
