"""Mixins that enter and leave by a hash of the candle: signals of any kind, long and short, without an indicator.

Offered to the engine as a package would be (docs/user/plugins.md), so that the comparison also reaches short positions, which
no built-in mixin opens.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from botrunner.strategies.base import Direction, OpenPosition, Signal
from botrunner.strategies.mixins import EntryMixin, ExitMixin, enter, leave
from botrunner.strategies.registry.installed import forget
from fleet.config.params import MixinParams
from tests.oracle.hashing import chance

DISTRIBUTION = """\
[botfleet.entry_mixins]
ScriptedEntryMixin = tests.oracle.scripted:ScriptedEntryMixin

[botfleet.exit_mixins]
ScriptedExitMixin = tests.oracle.scripted:ScriptedExitMixin
"""


class ScriptedEntryParams(MixinParams):
    """How often."""

    salt: int = Field(0, ge=0, description="Of the hash.")
    long: float = Field(0.1, ge=0, le=1, description="Share of candles with a long signal.")
    short: float = Field(0.1, ge=0, le=1, description="Share of candles with a short signal.")

    @property
    def bars_needed(self) -> int:
        """It looks at one candle."""
        return 1


class ScriptedEntryMixin(EntryMixin[ScriptedEntryParams]):
    """Enter by a hash of close and volume."""

    params_model = ScriptedEntryParams

    def signal(self) -> Signal | None:
        """Long, short or nothing."""
        drawn = chance(self.params.salt, self.data.close[0], self.data.volume[0])
        if drawn < self.params.long:
            return enter("scripted")
        return enter("scripted", Direction.SHORT) if drawn >= 1 - self.params.short else None


class ScriptedExitParams(MixinParams):
    """How often."""

    salt: int = Field(0, ge=0, description="Of the hash.")
    share: float = Field(0.1, ge=0, le=1, description="Share of candles with an exit signal.")

    @property
    def bars_needed(self) -> int:
        """It looks at one candle."""
        return 1


class ScriptedExitMixin(ExitMixin[ScriptedExitParams]):
    """Leave by a hash of close and volume."""

    params_model = ScriptedExitParams

    def signal(self, position: OpenPosition) -> Signal | None:
        """Leave or stay."""
        drawn = chance(self.params.salt, self.data.close[0], self.data.volume[0])
        return leave("scripted_exit", position) if drawn < self.params.share else None


@contextmanager
def offered(folder: Path) -> Iterator[None]:
    """Make both known to this process, as an installed package would, for a while."""
    info = folder / "oracle_scripted-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: oracle-scripted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(DISTRIBUTION)
    sys.path.append(str(folder))
    _look_again()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _look_again()


def _look_again() -> None:
    importlib.invalidate_caches()
    forget()
