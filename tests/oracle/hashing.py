"""The chance of scripted signals."""

from hashlib import sha256


def chance(salt: int, close: float, volume: float) -> float:
    """A number in [0, 1) that follows from a candle."""
    return int.from_bytes(sha256(f"{salt}:{close!r}:{volume!r}".encode()).digest()[:6], "big") / 2**48
