"""What installed packages offer, found out without trusting any of them: one child process per package.

A package's own code runs when it is imported: it may print, never end, end the process or take it down. Here that costs
its own entries, after IMPORT_S at most; they are listed with the reason.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, entry_points
from multiprocessing.connection import Connection
from typing import Any, Final

from botrunner.strategies.registry.installed import GROUPS, left_out
from botrunner.strategies.registry.strategy_handler import Offer, StrategyHandler
from cli.output import give_up_stdout
from fleet.foreign import BYTES_LIMIT, Unreadable, load_json, object_of
from fleet.log import configure_logging
from fleet.plugins import ENTRY_MIXINS, EXIT_MIXINS, STRATEGIES

IMPORT_S: Final = 20.0
"""A package with a large library (torch, onnx) takes some seconds; one that needs longer would delay every bot."""

JOIN_S: Final = 5.0
"""For a process that has ended, or was killed."""

_FORK = multiprocessing.get_context("fork")

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
    children = [_Child(package, offered) for package, offered in _packages(names).items()]
    deadline = time.monotonic() + import_s
    answers = [child.answer(deadline - time.monotonic(), import_s=import_s) for child in children]
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


class _Child:
    """A copy of this process that imports one package and tells what it offers.

    A copy has our modules already: an import takes as long as the package does, and a list is as quick as without. The
    command line has one thread, so nothing in the copy waits for a lock that nobody will give back.
    """

    def __init__(self, package: str, offered: Sequence[tuple[str, str]]) -> None:
        self._package = package
        self._wanted = {(KINDS[group], name) for group, name in offered}
        self._said, says = _FORK.Pipe(duplex=False)
        self._process = _FORK.Process(target=_tell, args=(says, frozenset(name for _, name in offered)), daemon=True)
        self._process.start()
        says.close()

    def answer(self, wait_s: float, *, import_s: float) -> Catalogue:
        """What it says within so long, or why it says nothing; it is gone afterwards, and all that it started."""
        try:
            if not self._said.poll(max(wait_s, 0)):
                return self._nothing(f"can't be imported within {import_s:g} s")
            loaded = load_json(self._said.recv_bytes(BYTES_LIMIT))
        except (EOFError, OSError):
            self._process.join(JOIN_S)
            return self._nothing(f"ended the process that imports it (exit code {self._process.exitcode})")
        finally:
            self._end()
        if isinstance(loaded, Unreadable):
            return self._nothing(f"gives an answer that {loaded.reason}")
        return self._read(object_of(loaded))

    def _end(self) -> None:
        assert self._process.pid is not None
        for end in (os.killpg, os.kill):
            with suppress(OSError):
                end(self._process.pid, signal.SIGKILL)
        self._process.join(JOIN_S)
        self._said.close()

    def _read(self, said: Mapping[str, object]) -> Catalogue:
        try:
            offers = [Offer(**row) for row in _rows(said["offers"])]
            bad = [LeftOut(**row) for row in _rows(said["left_out"])]
        except (LookupError, TypeError):
            return self._nothing("meddles with what is said of it")
        return Catalogue(
            offers=[offer for offer in offers if (offer.kind, offer.name) in self._wanted],
            left_out=[one for one in bad if (one.kind, one.name) in self._wanted],
        )

    def _nothing(self, why: str) -> Catalogue:
        left_out = [LeftOut(name=name, kind=kind, why=f"{self._package}: {why}") for kind, name in self._wanted]
        return Catalogue(offers=(), left_out=left_out)


def _rows(answer: object) -> list[dict[str, Any]]:
    """Rows of what a child said. Raises TypeError."""
    if not isinstance(answer, list):
        raise TypeError
    return answer


def _tell(says: Connection, names: frozenset[str]) -> None:
    """The child."""
    os.setsid()
    give_up_stdout()
    configure_logging(level="ERROR", form="console")
    offers = {(offer.kind, offer.name): offer for offer in StrategyHandler(names).catalogue() if offer.name in names}
    bad = [
        LeftOut(name=name, kind=KINDS[group], why=why)
        for group in GROUPS
        for name, why in left_out(group, names).items()
    ]
    for one in bad:
        offers.pop((one.kind, one.name), None)  # the built-in one of that name isn't the package's
    made = {"offers": [asdict(offer) for offer in offers.values()], "left_out": [asdict(one) for one in bad]}
    says.send_bytes(json.dumps(made).encode())
