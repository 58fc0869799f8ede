"""The header Retry-After, which anybody may have written: seconds, or an HTTP date (RFC 9110, 10.2.3). Pure."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_DATE = 64
"""Characters; `Sun, 06 Nov 1994 08:49:37 GMT` has 29."""


def retry_after_s(value: str | None, *, now_s: float, most_s: float) -> float | None:
    """How long the other side wants to be left alone, in seconds from 0 to `most_s`; None: it doesn't say.

    Args:
        value: of the header; None where there is none.
        now_s: Unix time by the clock that the date is compared with: the server's own (header Date), or ours.
        most_s: more isn't believed.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), most_s) if len(text) < 10 else most_s
    if not text or len(text) > LONGEST_DATE:
        return None
    try:
        date = parsedate_to_datetime(text)
        # a date without a zone is one in GMT
        at_s = (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(at_s - now_s, 0.0), most_s)
