"""Exit codes of Botfleet's programs. Pure.

A process that ends by signal n, or at a second signal while it ends, has 128 + n. A bot's code is its own word, which a
strategy can speak too: `controller.decide.death` judges what to believe of it.
"""

from __future__ import annotations

from typing import Final

EXIT_OK: Final = 0
"""Done, or asked to stop; of a bot: its run is given back."""
EXIT_FAILED: Final = 1
"""Something failed that another start may heal."""
EXIT_USAGE: Final = 2
"""Arguments or settings are wrong: another start would end the same way."""
EXIT_CONFIG: Final = 2
"""Of a bot: the row's config can't be run. It waits for a change."""
EXIT_FENCED: Final = 3
"""Of a bot: the run isn't this process's, or not any more. Says nothing about the process that has claimed it."""
