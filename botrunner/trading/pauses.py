"""How long a pause of so many bars lasts: by the clock of the candles, not by calls. Pure.

One rule for `risk_management.cooldown_bars`, the entry mixins' `cooldown_bars` and `stop_loss_guard.pause_bars`: it
doesn't matter whether the exit came at a bar's open, within it or at its close, nor whether candles are missing.
"""

from __future__ import annotations

from datetime import datetime, timedelta


def pausing(since: datetime | None, *, now: datetime, bars: int, interval: timedelta) -> bool:
    """Whether a decision falls into the pause after an exit.

    Args:
        since: when the position was closed; None for never. One that is later than `now` belongs to another market's
            candles, and pauses nothing.
        now: the decision's time, a bar's close.
        bars: of the pause; 0 for none. interval: a bar's length.
    """
    return bars > 0 and since is not None and timedelta(0) <= now - since <= bars * interval
