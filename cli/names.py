"""The names that a configuration may use besides the built-in ones, as far as they are known here."""

from __future__ import annotations

from dataclasses import replace

from fleet.config import ExtraNames
from fleet.config.extras import Models
from fleet.plugins import installed


def extra_names(document: object) -> ExtraNames:
    """Those of installed packages, with their parameters' models where Backtrader is installed, else names alone.

    As in a bot, only packages that the document names are imported: any other may be broken, or never end. Those are
    tried in a child process first.
    """
    try:
        from botrunner.strategies.registry.strategy_handler import StrategyHandler, strings_in
    except ImportError:
        return installed().extra_names
    from cli.catalogue import unusable

    wanted = strings_in(document)
    bad = unusable(wanted)
    known = StrategyHandler(wanted - bad.keys()).extra_names()

    def usable(names: Models) -> Models:
        return {name: model for name, model in names.items() if name not in bad}

    return replace(
        known,
        strategies=usable(known.strategies),
        entries=usable(known.entries),
        exits=usable(known.exits),
        broken={**known.broken, **bad},
    )
