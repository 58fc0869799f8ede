"""Mutation tests: each small change of a core module (`mutations`) must make a unit test fail.

    make mutants                                        every module of MODULES, in full
    make mutants SAMPLE=40 [SEED=1]                     so many mutants of each, drawn by seed
    make mutants MODULE=controller/decide/plan.py[,...]        some modules
    make mutants SURVIVORS=1                            what isn't killed yet; kills by tests as they were are believed
    make mutants LIST=1                                 the survivors that are known, nothing is run
    make mutants WORKERS=1                              processes at a time (2)

A module's tests are collected once and run once unchanged, which tells how long each takes and which lines of the
module it reaches. Then every mutant gets a fork: the changed function's code is put in place of the old one, and the
tests that reach its lines run, the quickest first, until one fails. What is evaluated at import (defaults, constants,
tables) is changed by importing everything anew in the fork. A test that takes ten times as long as usual has timed out.

Results are kept in .botfleet/mutants/, keyed by the texts of module and tests: a second run does what the first,
perhaps interrupted, left undone. What a test does in a process of its own isn't reached; a test slower than SLOWEST_S
is left out.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import os
import pickle
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from mutations import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".botfleet" / "mutants"
SLOWEST_S = 10.0
"""A test that takes longer is no unit test of the module, and every survivor would pay for it."""
EXAMPLES = 20
"""Of a property, for each mutant: a property that needs hundreds to notice a change isn't what holds it."""
MEMORY = 8 << 30
"""Bytes of address space of a fork: a loop that no longer ends must not take the machine's memory."""

# what tests need of other people's packages: imported once, before the first fork
PACKAGES = (
    "pytest hypothesis psycopg psycopg_pool pydantic pydantic_settings structlog psutil "
    "aiohttp kopf kubernetes backtrader websockets"
)

_CONTROLLER, _BOT, _FLEET = "tests/unit/controller/", "tests/unit/botrunner/", "tests/unit/fleet/"
_CHANNELS = "tests/unit/worker/channels"
_PAPER = [
    _BOT + name
    for name in (
        "execution/paper/test_paper_trading.py",
        "execution/paper/test_paper_properties.py",
        "test_limits.py",
        "trading/test_lost_entries.py",
    )
]
_STEPS = [_BOT + "engine/test_trading_bot.py", _BOT + "engine/test_take_reports.py"]
_LIVE = [
    _BOT + f"execution/live/test_{name}.py" for name in ("snapshots", "sending", "lookups", "venue", "kill_points")
]
_VENUE = [_BOT + "execution/paper/test_venue.py", _BOT + "trading/test_money_bounds.py", *_PAPER]
MODULES: dict[str, list[str]] = {
    "controller/decide/plan.py": [
        _CONTROLLER + "decide/test_plan.py",
        _CONTROLLER + "decide/test_plan_tables.py",
        _CONTROLLER + "decide/test_reasons.py",
    ],
    "controller/decide/death.py": [
        _CONTROLLER + "decide/test_condition.py",
        _CONTROLLER + "decide/test_death.py",
        _CONTROLLER + "decide/test_plan.py",
        _CONTROLLER + "decide/test_plan_tables.py",
    ],
    "controller/decide/status_text.py": [
        _CONTROLLER + "decide/test_plan.py",
        _CONTROLLER + "decide/test_plan_tables.py",
        _CONTROLLER + "decide/test_reasons.py",
    ],
    "controller/decide/pod_events.py": [_CONTROLLER + "decide/test_pod_events.py"],
    "controller/decide/condition.py": [
        _CONTROLLER + "decide/test_condition.py",
        _CONTROLLER + "decide/test_plan.py",
        _CONTROLLER + "decide/test_reasons.py",
    ],
    "controller/manager.py": [_CONTROLLER + "test_manager.py"],
    "controller/observe/bots.py": [_CONTROLLER + "observe/test_bots.py", _CONTROLLER + "test_manager.py"],
    "controller/observe/configs.py": [
        _CONTROLLER + "observe/test_configs.py",
        _CONTROLLER + "observe/test_bots.py",
        _CONTROLLER + "test_manager.py",
    ],
    "controller/observe/observer.py": [_CONTROLLER + "observe/test_observer.py", _CONTROLLER + "test_manager.py"],
    "controller/act/executor.py": [_CONTROLLER + "act/test_executor.py", _CONTROLLER + "test_manager.py"],
    "controller/act/report.py": [_CONTROLLER + "act/test_executor.py", _CONTROLLER + "test_manager.py"],
    "controller/store.py": ["tests/integration/test_store.py"],
    "controller/act/runtime/kubernetes.py": [
        _CONTROLLER + "act/runtime/test_kubernetes.py",
        _CONTROLLER + "act/runtime/test_event_recorder.py",
    ],
    "controller/act/runtime/process.py": [_CONTROLLER + "act/runtime/test_process.py"],
    "controller/observe/bot_rows.py": [_CONTROLLER + "observe/test_bot_rows.py"],
    "controller/observe/pods.py": [_CONTROLLER + "observe/test_pods.py"],
    "controller/observe/heartbeats.py": [_CONTROLLER + "observe/test_heartbeats.py"],
    "controller/observe/pod_watch.py": [
        _CONTROLLER + "observe/test_pod_watch_keeper.py",
        _CONTROLLER + "observe/test_pod_watch.py",
    ],
    "fleet/trading_service/lease.py": ["tests/integration/test_lease.py"],
    "worker/channels/routing.py": [_CHANNELS],
    "worker/channels/webhook.py": [_CHANNELS],
    "worker/channels/http.py": [_CHANNELS],
    "worker/channels/telegram.py": [_CHANNELS],
    "worker/routes.py": ["tests/unit/worker/test_routes.py"],
    "botrunner/process/fence.py": [_BOT + "process/test_fence.py", _BOT + "process/test_heartbeat.py"],
    "botrunner/ledger/checkpoint.py": [_BOT + "ledger/test_checkpoint.py", *_PAPER],
    "botrunner/ledger/ledger.py": [_BOT + "ledger/test_ledger.py", *_PAPER],
    "botrunner/ledger/bar_rows.py": [_BOT + "ledger/test_bar_rows.py", *_PAPER],
    "botrunner/trading/risk.py": [_BOT + "trading/test_risk.py", _BOT + "engine/test_trading_bot.py", *_VENUE],
    "botrunner/execution/paper/matching.py": [_BOT + "execution/paper/test_matching.py", *_PAPER],
    "botrunner/execution/paper/venue.py": [*_STEPS, *_VENUE],
    "botrunner/trading/book.py": [_BOT + "trading/test_book.py", *_STEPS, *_VENUE],
    "botrunner/trading/costs.py": [_BOT + "trading/test_costs.py", *_PAPER],
    "botrunner/trading/policy/entry.py": [_BOT + "trading/policy/test_entry.py", *_STEPS, *_VENUE],
    "botrunner/trading/policy/exit.py": [_BOT + "trading/policy/test_exit.py", *_STEPS, *_VENUE],
    "botrunner/trading/policy/protection.py": [_BOT + "trading/policy/test_protection.py", *_STEPS, *_VENUE],
    "botrunner/engine/trading_bot.py": [*_STEPS, *_VENUE],
    "botrunner/execution/live/snapshots.py": _LIVE,
    "botrunner/execution/live/sending.py": _LIVE,
    "botrunner/execution/live/lookups.py": _LIVE,
    "botrunner/execution/live/venue.py": _LIVE,
}

Result = dict[str, Any]

_SERVER = """
import sys, tempfile, pathlib
from cli.embedded import EmbeddedPostgres, free_port
from fleet.migrations import upgrade
with tempfile.TemporaryDirectory(prefix="mutants-") as made:
    with EmbeddedPostgres(data=pathlib.Path(made) / "data", port=free_port(), durable=False).start() as running:
        upgrade(running.url)
        print(running.url, flush=True)
        sys.stdin.read()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", help="of MODULES, separated by commas; default: all")
    parser.add_argument("--sample", type=int, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--survivors", action="store_true", help="believe kills by tests as they were")
    parser.add_argument("--list", action="store_true", help="show what is known")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    os.chdir(ROOT)
    warnings.simplefilter("ignore", SyntaxWarning)  # what mutants look like is no news
    names = options.module.split(",") if options.module else list(MODULES)
    unknown = [name for name in names if name not in MODULES]
    if unknown:
        parser.error(f"not in MODULES of hack/mutants.py: {', '.join(unknown)}")
    modules = [Module(name, options) for name in names]
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        if not options.list:
            with _database([module for module in modules if module.wanted()]) as url:
                for module in modules:
                    if module.wanted():
                        # read anew in the fork: somebody may have written tests meanwhile
                        _in_fork(lambda name=module.name: Module(name, options).run(url))
    except KeyboardInterrupt:
        print("\nstopped; what was found is kept")
    modules = [Module(name, options) for name in names]
    for module in modules:
        module.show_survivors()
    _table(modules)
    return 0


class Module:
    """One module, its mutants and what became of them."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name = name
        self.path = str(ROOT / name)
        self.dotted = name.removesuffix(".py").replace("/", ".")
        self.options = options
        text = Path(name).read_text()
        self.tree = ast.parse(text)
        self.mutants = mutants(self.tree)
        self.tests = [test for test in MODULES[name] if Path(test).exists()]
        files = sorted(
            {
                file
                for test in self.tests
                for file in ([Path(test)] if test.endswith(".py") else Path(test).rglob("*.py"))
            }
        )
        folders = {file.parent for file in files}
        helpers = sorted(
            file for folder in folders for file in folder.glob("*.py") if not file.name.startswith("test_")
        )
        rules = (Path(__file__).parent / "mutations.py").read_text()
        self.module_key = _hash(text, rules)
        self.tests_key = _hash(*(file.read_text() for file in [*files, *helpers, *sorted(Path("tests").glob("*.py"))]))
        self.file = FOLDER / f"{self.dotted}.json"
        known = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.results: dict[int, Result] = {}
        if known.get("module") == self.module_key:
            same = known["tests"] == self.tests_key
            # a kill by tests that have changed since is believed only when asked to
            self.results = {
                int(number): result
                for number, result in known["results"].items()
                if same or options.list or (options.survivors and result["outcome"] != "survived")
            }
        chosen = list(range(len(self.mutants)))
        if options.sample and options.sample < len(chosen):
            chosen = sorted(random.Random(f"{options.seed} {name}").sample(chosen, options.sample))
        self.chosen = chosen

    def wanted(self) -> list[int]:
        """Numbers of the mutants that have no result yet."""
        return [number for number in self.chosen if number not in self.results]

    def keep(self) -> None:
        """Write the results down."""
        content = {"module": self.module_key, "tests": self.tests_key, "results": self.results}
        made = self.file.with_suffix(f".{os.getpid()}")
        made.write_text(json.dumps(content, indent=0))
        made.replace(self.file)

    def run(self, url: str | None) -> None:
        """In a process of its own: collect the tests, then a fork for each mutant."""
        import pytest

        terminal = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        session = Session(self, url, terminal)
        code = pytest.main(_arguments(self.tests), plugins=[session])
        if not session.ran:
            print(
                f"{self.name}: its tests can't be collected (pytest says {code}): {' '.join(self.tests)}", file=terminal
            )
            os._exit(1)

    def show_survivors(self) -> None:
        for number, result in sorted(self.results.items()):
            if result["outcome"] == "survived" and number in self.chosen:
                unreached = "" if result["tests"] else "   [no test reaches it]"
                print(f"{self.name}:{result['line']}: {result['what']}{unreached}")


class Session:
    """The pytest plugin that runs mutants instead of tests."""

    def __init__(self, module: Module, url: str | None, terminal: Any) -> None:
        self.module, self.url, self.terminal, self.ran = module, url, terminal, False

    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Any:
        """Every fork's tests share the PostgreSQL server that runs already."""
        return _database_of(self.url, fixturedef, request)

    def pytest_runtestloop(self, session: Any) -> bool:
        self.ran = True
        self.items = list(session.items)
        _quick_hypothesis(self.items)
        self.session = session
        self.reached = self._baseline()
        missing = [item.nodeid for item in self.items if item.nodeid not in self.reached]
        if missing:
            print(f"{self.module.name}: left out, slow or failing as it is: {', '.join(missing)}", file=self.terminal)
        self.original = {_key(code): code for code in _codes(self._compiled(None))}
        gc.collect()
        self.functions: dict[Any, list[types.FunctionType]] = {}
        for thing in gc.get_objects():
            if isinstance(thing, types.FunctionType) and thing.__code__.co_filename == self.module.path:
                self.functions.setdefault(_key(thing.__code__), []).append(thing)
        gc.freeze()
        self._all()
        return True

    def _compiled(self, mutant: Mutant | None) -> types.CodeType:
        if mutant is None:
            return compile(self.module.tree, self.module.path, "exec", dont_inherit=True)
        return mutant.code(self.module.tree, self.module.path)  # type: ignore[no-any-return]

    def _baseline(self) -> dict[str, tuple[float, set[int]]]:
        """Seconds and reached lines of each test that passes and is quick."""
        end, begin = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            _be_the_process()
            found: dict[str, tuple[float, set[int]]] = {}
            for item, following in zip(self.items, [*self.items[1:], None], strict=True):
                self.session.testsfailed = 0
                with _lines_of(self.module.path) as lines:
                    began = time.monotonic()
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                    took = time.monotonic() - began
                if not self.session.testsfailed and took <= SLOWEST_S:
                    found[item.nodeid] = took, lines
            with os.fdopen(begin, "wb") as stream:
                pickle.dump(found, stream)
            os._exit(0)
        os.close(begin)
        with os.fdopen(end, "rb") as stream:
            data = stream.read()
        os.waitpid(pid, 0)
        return pickle.loads(data)  # type: ignore[no-any-return]

    def _all(self) -> None:
        module, todo = self.module, self.module.wanted()
        running: dict[int, tuple[int, float, float, int]] = {}  # number, began, allowed, pipe by pid
        began, shown, total = time.monotonic(), 0.0, len(todo)
        slots = set(range(module.options.workers))
        slot_of: dict[int, int] = {}
        try:
            while todo or running:
                while todo and len(running) < module.options.workers:
                    number = todo.pop(0)
                    mutant = module.mutants[number]
                    code = self._compiled(mutant)
                    swaps = self._swaps(code)
                    chosen = self._tests(mutant, all_of_them=swaps is None)
                    if not chosen:
                        self._note(number, "survived", 0)
                        continue
                    slot = slots.pop()
                    pid, pipe = self._fork(code, swaps, chosen, slot)
                    expected = sum(self.reached[item.nodeid][0] for item in chosen)
                    allowed = 10 * expected + 60
                    running[pid] = number, time.monotonic(), allowed, pipe
                    slot_of[pid] = slot
                for pid, late in self._ended(running):
                    number, _, _, pipe = running.pop(pid)
                    slots.add(slot_of.pop(pid))
                    said = os.read(pipe, 1000).decode() or ("" if late else "the process ended")
                    os.close(pipe)
                    outcome = {"": "timed out", "survived": "survived"}.get(said, "killed")
                    self._note(number, outcome, 1, by=said if outcome == "killed" else None)
                self._end_orphans(running)
                if time.monotonic() - shown > (1 if self.terminal.isatty() else 15):
                    shown = time.monotonic()
                    module.keep()
                    self._progress(total - len(todo) - len(running), total, shown - began)
        finally:
            for pid in running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            for slot in range(module.options.workers):
                shutil.rmtree(f"{_scratch(os.getpid())}-{slot}", ignore_errors=True)
            module.keep()
        self._progress(total, total, time.monotonic() - began)
        print(file=self.terminal)

    def _note(self, number: int, outcome: str, tests: int, by: str | None = None) -> None:
        mutant = self.module.mutants[number]
        result = {"line": mutant.line, "what": mutant.what, "outcome": outcome, "tests": tests}
        self.module.results[number] = {**result, "by": by} if by else result

    def _swaps(self, code: types.CodeType) -> list[tuple[types.FunctionType, types.CodeType]] | None:
        """What to put where; None: something that is evaluated at import has changed."""
        swaps = []
        for changed in _codes(code):
            if self.original.get(_key(changed)) == changed:
                continue
            functions = self.functions.get(_key(changed), [])
            if not changed.co_flags & 1:  # not a function's: the module's or a class's body
                if _own(changed) != _own(self.original[_key(changed)]):
                    return None
            elif not functions and "<" not in changed.co_name and "<locals>" not in changed.co_qualname:
                return None
            if any(function.__code__.co_freevars != changed.co_freevars for function in functions):
                return None
            swaps += [(function, changed) for function in functions]
        return swaps

    def _tests(self, mutant: Mutant, *, all_of_them: bool) -> list[Any]:
        first, last = mutant.lines
        chosen = []
        for item in self.items:
            if item.nodeid in self.reached:
                took, lines = self.reached[item.nodeid]
                near = any(first <= line <= last for line in lines)
                if near or all_of_them:
                    chosen.append((not near, took, item))
        return [item for _, _, item in sorted(chosen, key=lambda row: row[:2])]

    def _fork(self, code: types.CodeType, swaps: Any, chosen: list[Any], slot: int) -> tuple[int, int]:
        end, begin = os.pipe()
        os.set_inheritable(begin, False)
        pid = os.fork()
        if pid:
            os.close(begin)
            return pid, end
        os.setsid()
        _be_the_process()
        _become_reaper()  # what its tests leave behind is theirs to see until it ends, and this runner's to end then
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        base = f"{_scratch(os.getppid())}-{slot}"
        said = "survived"
        try:
            if swaps is None:
                usual = {item.nodeid: self.reached[item.nodeid][0] for item in chosen}
                said = _anew(self.module, code, usual, self.url, base)
            else:
                self.session.config._tmp_path_factory._given_basetemp = Path(base)
                for function, changed in swaps:
                    function.__code__ = changed
                for item, following in zip(chosen, [*chosen[1:], None], strict=True):
                    _end_after(self.reached[item.nodeid][0])
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                    if self.session.testsfailed:
                        said = item.nodeid
                        break
        except BaseException as error:
            said = f"a test run that ended with {type(error).__name__}"
        os.write(begin, said.encode()[:900])
        os._exit(0)

    def _ended(self, running: dict[int, tuple[int, float, float, int]]) -> list[tuple[int, bool]]:
        pipes = [row[3] for row in running.values()]
        ready, _, _ = select.select(pipes, [], [], 0.2)
        ended = []
        for pid, (_, began, allowed, pipe) in running.items():
            if pipe in ready or time.monotonic() - began > allowed:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                ended.append((pid, code == -signal.SIGALRM or pipe not in ready))
        return ended

    def _end_orphans(self, running: dict[int, Any]) -> None:
        """What mutants left behind has become a child of this process."""
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            if int(pid) not in running:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(int(pid), signal.SIGKILL)
                    os.waitpid(int(pid), 0)

    def _progress(self, done: int, total: int, took: float) -> None:
        counts = [
            sum(r["outcome"] == outcome for r in self.module.results.values())
            for outcome in ("killed", "survived", "timed out")
        ]
        left = f", {(total - done) * took / done:.0f} s left" if 0 < done < total else ""
        text = f"{self.module.name}: {done} of {total} run in {took:.0f} s{left}; "
        text += f"killed {counts[0]}, survived {counts[1]}, timed out {counts[2]}"
        print(f"\r\x1b[K{text}" if self.terminal.isatty() else f"{text}\n", end="", file=self.terminal)


class Chosen:
    """The pytest plugin of a fork that imports everything anew: these tests in this order, up to the first failure."""

    def __init__(self, usual: dict[str, float], url: str | None) -> None:
        self.usual, self.url, self.failed = usual, url, ""
        self.order = {nodeid: place for place, nodeid in enumerate(usual)}

    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Any:
        return _database_of(self.url, fixturedef, request)

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.order), key=lambda item: self.order[item.nodeid]
        )
        _quick_hypothesis(items)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        _end_after(self.usual[nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid


class _Loader(importlib.machinery.SourceFileLoader):
    code: types.CodeType

    def get_code(self, _fullname: str) -> types.CodeType:
        return self.code


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: Module, code: types.CodeType) -> None:
        self.module = module
        self.loader = _Loader(module.dotted, module.path)
        self.loader.code = code

    def find_spec(self, fullname: str, *_: Any) -> Any:
        if fullname != self.module.dotted:
            return None
        return importlib.util.spec_from_file_location(fullname, self.module.path, loader=self.loader)


def _anew(module: Module, code: types.CodeType, usual: dict[str, float], url: str | None, base: str) -> str:
    """Import all of ours again, with the changed module, and run the tests."""
    import pytest

    ours = ("conftest", *(folder.name for folder in ROOT.iterdir() if folder.is_dir()))
    for name in [name for name in sys.modules if name.split(".")[0] in ours]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Finder(module, code))
    plugin = Chosen(usual, url)
    result = pytest.main([*_arguments(module.tests), "-x", f"--basetemp={base}"], plugins=[plugin])
    return "survived" if result == 0 else plugin.failed or "collection"


def _scratch(runner: int) -> str:
    """The head of the names of the forks' temporary folders."""
    return f"{tempfile.gettempdir()}/mutants-{runner}"


def _end_after(usual_s: float) -> None:
    """This process ends itself when the test that begins takes far longer than it does unchanged."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 10 * usual_s + 5)


def _arguments(tests: list[str]) -> list[str]:
    return ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "timeout=0", f"--rootdir={ROOT}", *tests]


def _quick_hypothesis(items: list[Any]) -> None:
    """A failing example is enough: nobody reads the smallest one; and the same few examples each time."""
    from hypothesis import Phase, settings

    for item in items:
        test = getattr(item, "function", None)
        used = getattr(test, "_hypothesis_internal_use_settings", None)
        if used is not None:
            test._hypothesis_internal_use_settings = settings(
                used,
                phases=(Phase.explicit, Phase.generate),
                max_examples=min(used.max_examples, EXAMPLES),
                derandomize=True,
                database=None,
            )


def _database_of(url: str | None, fixturedef: Any, request: Any) -> Any:
    if fixturedef.argname != "postgres_url" or url is None:
        return None
    fixturedef.cached_result = (url, fixturedef.cache_key(request), None)
    return url


@contextlib.contextmanager
def _database(modules: list[Module]) -> Iterator[str | None]:
    """A PostgreSQL server, when a test needs one. In a process of its own: nothing of ours is imported here."""
    texts = (Path(file).read_text() for module in modules for file in module.tests if file.endswith(".py"))
    if not any("database_url" in text for text in texts):
        yield None
        return
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    )
    try:
        yield server.stdout.readline().strip()  # type: ignore[union-attr]
    finally:
        server.stdin.close()  # type: ignore[union-attr]
        server.wait()


@contextlib.contextmanager
def _lines_of(path: str) -> Iterator[set[int]]:
    """Collects the lines of a file that are executed inside, in any thread."""
    lines: set[int] = set()
    all_of: dict[types.CodeType, set[int]] = {}

    def line(frame: Any, *_: Any) -> Any:
        lines.add(frame.f_lineno)
        return line

    def call(frame: Any, *_: Any) -> Any:
        code = frame.f_code
        if code.co_filename != path:
            return None
        if code not in all_of:
            all_of[code] = {number for _, _, number in code.co_lines() if number}
        return None if all_of[code] <= lines else line(frame)

    threading.settrace(call)
    sys.settrace(call)
    try:
        yield lines
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _key(code: types.CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _own(code: types.CodeType) -> Any:
    """A body without the functions in it."""
    constants = [(type(each), each) for each in code.co_consts if not isinstance(each, types.CodeType)]
    return code.co_code, code.co_names, constants


def _be_the_process() -> None:
    """Say nothing to the terminal, and be no mere copy to the bot's guard against forks."""
    copies = sys.modules.get("botrunner.process.forked_copies")
    if copies is not None:
        copies._OWNER = os.getpid()  # type: ignore[attr-defined]
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def _in_fork(do: Any, *arguments: Any) -> None:
    for package in PACKAGES.split():
        importlib.import_module(package)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _become_reaper()
            do(*arguments)
            code = 0
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except KeyboardInterrupt:
        os.waitpid(pid, 0)  # it was interrupted as well, and keeps what it has
        raise
    if code == 130:
        raise KeyboardInterrupt


def _become_reaper() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _table(modules: list[Module]) -> None:
    print("| module | mutants | run | killed | timed out | survived | score |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for module in modules:
        found = [result["outcome"] for number, result in module.results.items() if number in module.chosen]
        killed, late, survived = (found.count(outcome) for outcome in ("killed", "timed out", "survived"))
        score = f"{100 * (killed + late) / len(found):.1f} %" if found else ""
        print(f"| {module.name} | {len(module.mutants)} | {len(found)} | {killed} | {late} | {survived} | {score} |")


if __name__ == "__main__":
    sys.exit(main())
