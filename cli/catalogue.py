"""What installed packages offer, found out without trusting any of them: one child process per package.

A package's own code runs when it is imported: it may print, never end, end the process or take it down. Here that costs
its own entries, after IMPORT_S at most; they are listed with the reason. `python -m cli.catalogue FD FD NAMES` is the
child: it imports the packages for the names and writes what it found to the first file descriptor, as JSON; it writes
to the second one when it has imported what is ours, and the package's time begins.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from botrunner.strategies.registry import GROUPS, left_out
from botrunner.strategy_handler import Offer, StrategyHandler
from fleet.foreign import BYTES_LIMIT, Unreadable, load_json, object_of
from fleet.log import configure_logging
from fleet.plugins import ENTRY_MIXINS, EXIT_MIXINS, STRATEGIES

IMPORT_S: Final = 20.0
"""A package with a large library (torch, onnx) takes some seconds; one that needs longer would delay every bot."""

START_S: Final = 60.0
"""For Python and our own modules, on a machine that has much else to do."""

AT_A_TIME: Final = 4

KINDS: Final[Mapping[str, str]] = {STRATEGIES: "strategy", ENTRY_MIXINS: "entry", EXIT_MIXINS: "exit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What a package offers and nobody can use."""

    name: str
    kind: str
    why: str
    """The package, and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Strategies and mixins that can be used, and those that can't."""

    offers: Sequence[Offer]
    left_out: Sequence[LeftOut] = ()


def catalogue(names: Collection[str] | None = None, *, import_s: float = IMPORT_S) -> Catalogue:
    """Everything built in, and what packages offer under these names; None: under any."""
    packages = _packages(names)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = list(pool.map(lambda package: _asked(*package, import_s=import_s), packages.items()))
    offers = [*StrategyHandler(()).catalogue(), *(offer for answer in answers for offer in answer.offers)]
    bad = [one for answer in answers for one in answer.left_out]
    order = list(KINDS.values())
    return Catalogue(
        offers=sorted(offers, key=lambda offer: (order.index(offer.kind), offer.name)),
        left_out=sorted(bad, key=lambda one: (order.index(one.kind), one.name)),
    )


def offered_names() -> frozenset[str]:
    """The names that packages offer, by their metadata alone."""
    return frozenset(point.name for group in GROUPS for point in entry_points(group=group))


def unusable(names: Collection[str], *, import_s: float = IMPORT_S) -> dict[str, str]:
    """Those of the names whose packages can't be imported, or not in time, with the reason."""
    if offered_names().isdisjoint(names):
        return {}
    return {one.name: one.why for one in catalogue(names, import_s=import_s).left_out}


def _packages(names: Collection[str] | None) -> dict[str, list[tuple[str, str]]]:
    """Package → group and name of what it offers; what two offer counts for the first."""
    found: dict[tuple[str, str], str] = {}
    for group in GROUPS:
        for point in entry_points(group=group):
            if names is None or point.name in names:
                found.setdefault((group, point.name), _package(point))
    packages: dict[str, list[tuple[str, str]]] = {}
    for offered, package in found.items():
        packages.setdefault(package, []).append(offered)
    return packages


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def _rows(answer: object) -> list[dict[str, Any]]:
    """Rows of what a child said. Raises TypeError."""
    if not isinstance(answer, list):
        raise TypeError
    return answer


def _asked(package: str, offered: Sequence[tuple[str, str]], *, import_s: float) -> Catalogue:
    """What a child says about a package, or why it says nothing."""
    ready, tells_ready = os.pipe()
    with tempfile.TemporaryFile() as answer, os.fdopen(ready, "rb", buffering=0):
        fds = (answer.fileno(), tells_ready)
        command = [sys.executable, "-m", "cli.catalogue", *map(str, fds), *{name for _, name in offered}]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=2, pass_fds=fds, start_new_session=True
        ) as child:
            os.close(tells_ready)
            select.select([ready], [], [], START_S)
            try:
                code = child.wait(import_s)
                why = f"ended the process that imports it (exit code {code})"
            except subprocess.TimeoutExpired:
                why = f"can't be imported within {import_s:g} s"
            finally:
                with suppress(OSError):
                    os.killpg(child.pid, signal.SIGKILL)
        answer.seek(0)
        raw = answer.read(BYTES_LIMIT + 1)
    loaded = load_json(raw)
    if raw and isinstance(loaded, Unreadable):
        why = f"gives an answer that {loaded.reason}"
    said = object_of(loaded)
    if not said:
        return Catalogue(
            offers=(),
            left_out=[LeftOut(name=name, kind=KINDS[group], why=f"{package}: {why}") for group, name in offered],
        )
    wanted = {(KINDS[group], name) for group, name in offered}
    try:
        offers = [Offer(**row) for row in _rows(said["offers"])]
        bad = [LeftOut(**row) for row in _rows(said["left_out"])]
    except (LookupError, TypeError):
        offers = []
        bad = [
            LeftOut(name=name, kind=kind, why=f"{package}: meddles with what is said of it") for kind, name in wanted
        ]
    return Catalogue(
        offers=[offer for offer in offers if (offer.kind, offer.name) in wanted],
        left_out=[one for one in bad if (one.kind, one.name) in wanted],
    )


def main(arguments: Sequence[str]) -> None:
    """The child."""
    names = frozenset(arguments[2:])
    configure_logging(level="ERROR", form="console")
    os.write(int(arguments[1]), b".")
    os.close(int(arguments[1]))
    offers = {(offer.kind, offer.name): offer for offer in StrategyHandler(names).catalogue() if offer.name in names}
    bad = [
        LeftOut(name=name, kind=KINDS[group], why=why)
        for group in GROUPS
        for name, why in left_out(group, names).items()
    ]
    for one in bad:
        offers.pop((one.kind, one.name), None)  # the built-in one of that name isn't the package's
    made = {"offers": [asdict(offer) for offer in offers.values()], "left_out": [asdict(one) for one in bad]}
    with os.fdopen(int(arguments[0]), "wb") as answer:
        answer.write(json.dumps(made).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
