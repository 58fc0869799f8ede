"""Errors shared by all processes, by what the caller may do about them.

BotfleetError
├── TransientError          try again later; nothing is lost
│   └── DatabaseAway        the database didn't answer, or the outcome of a commit is unknown
├── FencedError             this run has lost its right to trade: stop at once, exit code 3
└── PermanentError          trying again would fail the same way
    ├── ConfigUnusable      a bot can't run this config: it must change first
    └── NotFound            the row that was asked for doesn't exist
"""

from __future__ import annotations


class BotfleetError(Exception):
    """Base of all errors that Botfleet raises on purpose."""


class TransientError(BotfleetError):
    """Trying again later may succeed; nothing was lost.

    Args:
        retry_after_s: how long the other side asked to be left alone, seconds; 0 when it said nothing.
    """

    def __init__(self, message: str = "", *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DatabaseAway(TransientError):
    """The database didn't answer in time, or the connection broke; a commit's outcome may be unknown."""


class FencedError(BotfleetError):
    """The run is no longer the current one: stop trading and end with exit code 3."""


class PermanentError(BotfleetError):
    """Trying again without a change would fail the same way."""


class ConfigUnusable(PermanentError):
    """A bot can't run this config, or not with what it holds; the message names the path into the config."""


class NotFound(PermanentError):
    """The named row doesn't exist."""
