"""Entry of `python -m sandbox_exchange`."""

from __future__ import annotations

import sys

from sandbox_exchange.main import main

sys.exit(main())
