"""The names that a configuration may use besides the built-in ones, as far as they are known here."""

from __future__ import annotations

from fleet.config import ExtraNames
from fleet.plugins import installed


def extra_names() -> ExtraNames:
    """Those of installed packages, with their parameters' models where Backtrader is installed, else names alone."""
    try:
        from botrunner.strategy_handler import StrategyHandler
    except ImportError:
        return installed().extra_names
    return StrategyHandler().extra_names()
