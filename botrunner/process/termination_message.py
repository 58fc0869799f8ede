"""What the kubelet is to tell when this process is gone: one sentence instead of the end of a log, cut anywhere.

The file exists in a pod alone; elsewhere nothing is written. It may fail, as nothing depends on it: the run's row has
the same words where the database could be reached.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from fleet.foreign import clean_text
from fleet.redaction import redact

TERMINATION_LOG = Path("/dev/termination-log")
LIMIT = 1_000
"""Characters: the kubelet takes 4,096 bytes, and a character has four at most."""


def write(words: str, file: Path = TERMINATION_LOG) -> None:
    """Write the words, masked and clean, if there is somebody to read them."""
    with suppress(OSError):
        if file.is_file():
            file.write_text(clean_text(redact(words), LIMIT, lines=False))
