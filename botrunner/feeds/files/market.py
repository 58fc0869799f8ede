"""A file's candles as a config wants them, and the market rules that they show."""

from __future__ import annotations

from pathlib import Path

from botrunner.feeds.files.reader import CandleFile, read_candle_file, wanted_by
from botrunner.market.rules import Market, currencies, file_market
from fleet.config import BotConfig


def candle_file(path: Path, config: BotConfig) -> CandleFile:
    """The candles of a file as a config wants them.

    Raises:
        CandleFileInvalid: it can't be used; the message says where it is wrong and what to do.
    """
    base, quote = currencies(config.symbol)
    return read_candle_file(path, wanted_by(config, base=base, quote=quote))


def rules_of_file(file: CandleFile, symbol: str) -> Market:
    """Rules for a file's candles: its own decimals, no minimums, short positions simulated."""
    return file_market(symbol, tick=file.tick, step=file.step)
