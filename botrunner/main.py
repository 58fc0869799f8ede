"""One run of one bot as a process: claim → markets → resume → warm up → trade → release. Wiring only.

Exit codes: 0 released, 1 failed, 2 the config can't be run, 3 fenced or the run couldn't be claimed. A bot that
has not ended within the bound after a signal prints where it hangs and ends with 1; a second signal changes nothing, as
giving the run back, which lets the next one start at once, takes no more than seconds. Only this module ends the
process: a strategy or a package that tries to is a failure.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import psycopg
import structlog

from botrunner.engine.budget import GaveUp
from botrunner.exchange.address import SharedAddress, venue_of
from botrunner.exchange.errors import ExchangeAway
from botrunner.process import last_words
from botrunner.process.backoff import DATABASE
from botrunner.process.copies import end_if_copy
from botrunner.process.error_book import ErrorBook
from botrunner.process.fence import EXIT_FENCED, Fence
from botrunner.process.heartbeat import Lease
from botrunner.process.progress import Progress
from botrunner.process.retry import Retrier
from botrunner.process.signals import listen, next_stop
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.settings import EGRESS_NODE, Settings, SettingsInvalid, load_settings
from fleet.clock import Clock, SystemClock
from fleet.errors import ConfigUnusable, DatabaseAway, FencedError
from fleet.log import configure_logging, get_logger, say_failure
from fleet.process_life import end_after
from fleet.redaction import guard_environment, safe_text
from fleet.states import ENDED_BY_SIGNAL, ExitReason
from fleet.trading_service.connect import connect
from fleet.trading_service.errors import add_errors
from fleet.trading_service.exchanges import Address
from fleet.trading_service.lease import Claim, RunId, claim, mark_live, release
from fleet.trading_service.ledger import CheckpointConflict

if TYPE_CHECKING:
    from botrunner.assembly import Bot

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2

HEAVY_IMPORTS = ("backtrader", "fleet.config", "botrunner.assembly")
"""In pieces, with a report of progress and a look for a stop request in between."""

CLAIM_PATIENCE_S = 30.0
"""How long a fresh process tries to reach the database before it gives up."""

log = get_logger("main")

T = TypeVar("T")


def main(argv: Sequence[str] | None = None, *, stop_signals: int | None = None) -> int:
    """Run the bot named on the command line; returns the exit code.

    Args:
        argv: without the program's name; by default those of the process.
        stop_signals: what `signals.listen` returned, if signals are listened to already.
    """
    stop_signals = listen() if stop_signals is None else stop_signals
    guard_environment(os.environ)
    arguments, clock = _arguments(argv), SystemClock()
    try:
        settings = load_settings()
        errors = ErrorBook(clock)
        configure_logging(level=settings.log_level, form=settings.log_format, watch=errors.see)
    except (SettingsInvalid, ValueError) as error:
        say_failure("botrunner", error)
        return EXIT_CONFIG
    structlog.contextvars.bind_contextvars(
        bot_id=arguments.bot_id, epoch=arguments.epoch, run_id=f"{arguments.bot_id}-{arguments.epoch}-{uuid4().hex[:8]}"
    )
    run = RunId(arguments.bot_id, arguments.epoch, _token())
    try:
        return BotProcess(settings, run, clock, errors, stop_signals=stop_signals).run()
    except FencedError as error:
        log.error("fenced", error=str(error))
        last_words.leave(f"fenced: {error}")
        return EXIT_FENCED
    except CheckpointConflict as error:
        log.error("checkpoint_conflict", error=str(error))
        last_words.leave(f"checkpoint conflict: {error}")
        return EXIT_FENCED
    except DatabaseAway as error:
        log.error("database_away", error=str(error))
        last_words.leave(f"the database can't be reached: {error}")
        return EXIT_FAILED


def _token() -> str:
    """Who claims: the pod's uid, so that the controller knows whose end ends the run, and this process of it."""
    return f"{os.environ.get('BOTFLEET_POD_UID', '')}/{uuid4().hex}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="botrunner", description="Run one trading bot. The controller starts this; BOTFLEET_* configure it."
    )
    parser.add_argument("--bot-id", type=int, required=True, help="trading_bots.id")
    parser.add_argument("--epoch", type=int, required=True, help="trading_runs.epoch to claim")
    return parser.parse_args(argv)


class Exit:
    """Who ends the process: the thread that asks first. Usually the main thread, unless it doesn't come in time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = threading.Event()
        self._owner: int | None = None

    def mine(self) -> bool:
        """Whether this thread is the one; True for the first to ask, and again for it later."""
        with self._lock:
            self._owner = self._owner or threading.get_ident()
            self._taken.set()
            return self._owner == threading.get_ident()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for some thread to ask."""
        return self._taken.wait(seconds)


class BotProcess:
    """The process around a StrategyInstance: lease, signals, release.

    On SIGTERM the main thread has `StopSwitch.leave_within_s` to end its work and release the run. If it hangs in an
    import, an exchange's or the database's answer, or a strategy, the thread that heard the signal releases the run
    and ends the process: a successor need not wait for a time-out. Nothing is lost by that, no more than by a SIGKILL.
    """

    def __init__(
        self,
        settings: Settings,
        run: RunId,
        clock: Clock,
        errors: ErrorBook,
        *,
        stop_signals: int,
        end_process: Callable[[int], Any] = os._exit,
        end_after: Callable[[float], Any] = end_after,
    ) -> None:
        self._settings = settings
        self._run = run
        self._clock = clock
        self._errors = errors
        self._stop = StopSwitch()
        self._progress = Progress(clock)
        self._bot: Bot | None = None
        self._limits: Mapping[str, Any] | None = None
        self._lease: Lease | None = None
        self._stop_signals = stop_signals
        self._end_process = end_process
        self._end_after = end_after
        self._exit = Exit()
        self._address: SharedAddress | None = None

    def run(self) -> int:
        """Claim, trade, release.

        Returns:
            The exit code.

        Raises:
            FencedError: not claimable, or lost meanwhile. DatabaseAway: never reached the database.
        """
        threading.Thread(target=copy_context().run, args=(self._obey_signals,), name="signals", daemon=True).start()
        try:
            return self._run_claimed()
        finally:
            self._take_exit()

    def _run_claimed(self) -> int:
        claimed_at = self._clock.monotonic()
        claimed = self._claim()
        log.info("claimed", name=claimed.name, config_version=claimed.config_version, since_exec_s=_since_exec_s())
        fence = Fence(self._settings.deadlines, claimed_at=claimed_at)
        self._lease = Lease(
            url=self._settings.database_url,
            run=self._run,
            deadlines=self._settings.deadlines,
            fence=fence,
            progress=self._progress,
            clock=self._clock,
            on_stop=self._stop.request,
            on_limits=self._take_limits,
            beside=self._beside,
        )
        self._lease.start()
        try:
            reason = self._trade(claimed, fence)
        except GaveUp as error:
            log.error("gave_up", error=str(error))
            return self._release(EXIT_FAILED, ExitReason.GAVE_UP, str(error))
        except ConfigUnusable as error:
            log.error("config_error", error=str(error))
            return self._release(EXIT_CONFIG, ExitReason.CONFIG_ERROR, str(error))
        except (ExchangeAway, DatabaseAway) as error:
            # only after a stop request: an outage alone is waited out
            log.info("stopped_while_waiting", error=str(error))
            return self._release(EXIT_OK, self._stop.reason, _why(self._stop.reason))
        except (FencedError, CheckpointConflict):
            raise
        except Exception as error:
            log.exception("failed")
            return self._release(EXIT_FAILED, ExitReason.FAILED, f"{type(error).__name__}: {error}")
        except BaseException as error:
            log.exception("failed")
            return self._release(EXIT_FAILED, ExitReason.FAILED, _why_left(error))
        return self._release(EXIT_OK, reason, _why(reason))

    def _claim(self) -> Claim:
        deadline = self._clock.monotonic() + CLAIM_PATIENCE_S

        def attempt() -> Claim:
            with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} claim") as connection:
                return claim(connection, self._run, node=self._settings.node)

        return self._insist(attempt, until=lambda: self._clock.monotonic() > deadline)

    def _insist(self, question: Callable[[], T], *, until: Callable[[], bool]) -> T:
        """Ask the database until it answers, a stop is requested, or `until` holds.

        Raises:
            DatabaseAway: it hasn't answered. Whatever else the question raises.
        """
        retrier = Retrier(
            on=DatabaseAway,
            backoff=DATABASE,
            pause=lambda seconds: self._stop.wait(seconds) or until(),
            alive=self._progress.made,
            failed=lambda error, failures, wait_s: log.warning(
                "database_away", error=str(error), failures=failures, retry_in_s=round(wait_s, 1)
            ),
        )
        return retrier.call(question)

    def _obey_signals(self) -> None:
        """Wait for SIGTERM or SIGINT; runs in a thread of its own."""
        number = next_stop(self._stop_signals)
        log.info("stop_signal", signal=number.name, bound_s=self._settings.stop_bound_s)
        self._end_after(self._settings.stop_bound_s)
        self._stop.request(StopRequest(ExitReason.RELEASED, urgent=True))
        if self._exit.wait(self._stop.leave_within_s) or not self._exit.mine():
            return
        log.warning("main_loop_did_not_leave", waited_s=self._stop.leave_within_s)
        if self._lease is not None:
            self._lease.fence.lose()  # whatever the main thread is about to do, no order leaves any more
            if self._bot is not None:
                self._bot.abandon()
            self._lease.stop()
        self._give_back(EXIT_OK, ExitReason.RELEASED, ENDED_BY_SIGNAL, stuck=True)
        self._end_process(EXIT_OK)

    def _take_exit(self) -> None:
        """Go on only in the thread that ends the process; another one waits for that end."""
        end_if_copy()
        if not self._exit.mine():
            threading.Event().wait()

    def _trade(self, claimed: Claim, fence: Fence) -> ExitReason:
        # Backtrader and ccxt take seconds of CPU to import: the claim doesn't wait for them
        for step, name in enumerate(HEAVY_IMPORTS, start=1):
            self._progress.enter(f"loads its program, {step} of {len(HEAVY_IMPORTS)}")
            import_module(name)
            if self._stop.requested:
                return self._stop.reason
        from botrunner.assembly import Bot

        end_if_copy()
        self._bot = Bot(
            settings=self._settings,
            run=self._run,
            claimed=claimed,
            fence=fence,
            progress=self._progress,
            stop=self._stop,
            clock=self._clock,
            on_live=self._went_live,
            share=self._share,
        )
        if self._limits is not None:
            # they came while the bot was being put together, and no heartbeat brings them again
            self._bot.take_limits(self._limits)
        return self._bot.trade()

    def _share(self, exchange: str) -> SharedAddress:
        assert self._lease is not None, "an exchange is asked only after the claim"
        settings = self._settings
        address = Address(
            exchange=exchange,
            venue=venue_of(settings.exchange_urls.get(exchange)),
            origin=(settings.node or "") if settings.egress == EGRESS_NODE else "",
        )
        self._address = SharedAddress(run=self._run, address=address, clock=self._clock, hurry=self._lease.hurry)
        return self._address

    def _beside(self, connection: psycopg.Connection[Any]) -> None:
        """What is written beside a heartbeat, on its connection. Raises DatabaseAway."""
        if self._errors.due():
            self._write_errors(connection)
        if self._address is not None:
            self._address.exchange(connection)

    def _went_live(self) -> None:
        end_if_copy()

        def attempt() -> None:
            with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} live") as connection:
                mark_live(connection, self._run)

        assert self._lease is not None, "a bot trades only after its claim"
        fence = self._lease.fence
        self._insist(attempt, until=lambda: fence.lost)
        self._progress.live()
        self._lease.hurry()
        log.info("live", since_exec_s=_since_exec_s(), resident_mb=_resident_mb())

    def _take_limits(self, limits: Mapping[str, Any]) -> None:
        self._limits = limits
        if self._bot is not None:
            self._bot.take_limits(limits)

    def _write_errors(self, connection: psycopg.Connection[Any]) -> None:
        """Add the counted errors to the table of trends; trouble with it never costs more than the numbers.

        Raises:
            DatabaseAway: no answer; they are kept.
        """
        counts = self._errors.take()
        try:
            if counts:
                add_errors(connection, self._run, counts)
        except DatabaseAway:
            self._errors.give_back(counts)
            raise
        except psycopg.Error as error:
            log.info("errors_unwritten", kinds=len(counts), error=safe_text(error, 300))

    def _release(self, exit_code: int, reason: ExitReason, error_message: str | None = None) -> int:
        self._take_exit()
        if self._lease is not None:
            self._lease.stop()
        self._give_back(exit_code, reason, error_message)
        return exit_code

    def _give_back(self, exit_code: int, reason: ExitReason, error_message: str | None, *, stuck: bool = False) -> None:
        if error_message and exit_code != EXIT_OK:
            last_words.leave(error_message)
        try:
            with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} release") as connection:
                release(
                    connection,
                    self._run,
                    exit_code=exit_code,
                    reason=reason,
                    error_message=error_message,
                    stuck=stuck,
                )
                self._write_errors(connection)
        except DatabaseAway as error:
            # the exit code tells the controller the same, a little later
            log.warning("release_unanswered", error=str(error))
        log.info("ended", exit_code=exit_code, reason=reason, resident_mb=_resident_mb())


def _why_left(error: BaseException) -> str:
    """What to tell about a SystemExit, KeyboardInterrupt or the like, which only code of others raises here."""
    return f"the strategy or a package tried to end the bot: {error!r}; a decision that fails must raise an Exception"


def _why(reason: ExitReason) -> str | None:
    """The message of an end in good order: nobody who asked for it must be told."""
    return ENDED_BY_SIGNAL if reason is ExitReason.RELEASED else None


def _since_exec_s() -> float:
    """Seconds since this process was started by the kernel's count (Linux)."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0.0
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 2)


def _resident_mb() -> float:
    """Resident memory of this process, MB (Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
