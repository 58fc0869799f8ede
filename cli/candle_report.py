"""What a backtest tells about its candles: how the file was read, what is missing in it, where its price jumps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botrunner.feeds.files.survey import interval_name
from fleet.times import from_ms

if TYPE_CHECKING:
    from botrunner.feeds.files.reader import CandleFile
    from botrunner.feeds.files.survey import Gap, Jump, Survey


def data_as_json(file: CandleFile, found: Survey) -> dict[str, Any]:
    """`data` of `-o json`: times are of candles' opens."""
    return {
        "kind": file.kind,
        "columns": file.columns,
        "times": file.times,
        "interval": interval_name(file.interval_ms),
        "interval_from": file.interval_from,
        "tick": file.tick,
        "step": file.step,
        "candles": found.candles,
        "first": from_ms(found.first_ms),
        "last": from_ms(found.last_ms),
        "missing": found.missing,
        "gaps": {
            "count": found.gaps,
            "first": [_gap(gap) for gap in found.first_gaps],
            "longest": found.longest_gap and _gap(found.longest_gap),
        },
        "jumps": {
            "count": found.jumps,
            "first": [_jump(jump) for jump in found.first_jumps],
            "largest": found.largest_jump and _jump(found.largest_jump),
        },
        "without_volume": found.still,
        "notes": file.notes,
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {"after": from_ms(gap.before_ms), "before": from_ms(gap.after_ms), "missing": gap.missing}


def _jump(jump: Jump) -> dict[str, Any]:
    return {
        "at": from_ms(jump.at_ms),
        "factor": round(jump.factor, 4),
        "kind": "high by low of one candle" if jump.spike else "open by the close before",
        "missing_before": jump.missing,
    }


def data_lines(file: CandleFile, found: Survey) -> list[tuple[str, str]]:
    """The same for people, as lines of the table."""
    return [
        ("candles", f"{found.candles} from {file.kind}; times {file.times}"),
        ("interval", file.interval_from),
        ("missing candles", _gaps(found)),
        ("price jumps", _jumps(found)),
    ]


def _gaps(found: Survey) -> str:
    if not found.gaps or found.longest_gap is None:
        return "-"
    places = _places([(gap.after_ms, f"{gap.missing}") for gap in found.first_gaps], found.gaps)
    longest = found.longest_gap
    return f"{found.missing} in {found.gaps} gaps, {longest.missing} before {_at(longest.after_ms)}; before {places}"


def _jumps(found: Survey) -> str:
    if not found.jumps or found.largest_jump is None:
        return "-"
    largest = found.largest_jump
    places = _places([(jump.at_ms, f"×{jump.factor:.3g}") for jump in found.first_jumps], found.jumps)
    return f"{found.jumps}, largest ×{largest.factor:.3g} at {_at(largest.at_ms)}; at {places}"


def _places(first: Sequence[tuple[int, str]], count: int) -> str:
    named = ", ".join(f"{_at(at_ms)} ({what})" for at_ms, what in first)
    return named if count == len(first) else f"{named} and {count - len(first)} more"


def _at(at_ms: int) -> str:
    return f"{from_ms(at_ms):%Y-%m-%d %H:%M}"
