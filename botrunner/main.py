"""One run of one bot as a process: claim → markets → resume → warm up → trade → release. Wiring only.

Exit codes: 0 released, 1 failed, 2 the config can't be run, 3 fenced or the run couldn't be claimed.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from botrunner.brokers.errors import ExchangeAway, ExchangeRefused
from botrunner.brokers.manager import Broker, BrokerManager, UnknownBroker
from botrunner.feeds.source import CandleFileInvalid, CandleSource, ExchangeCandles, FileCandles
from botrunner.fence import EXIT_FENCED, Fence, Lease, Progress, StopRequest
from botrunner.ledger import CheckpointDamaged, Ledger
from botrunner.risk import Market
from botrunner.settings import Settings, SettingsInvalid, load_settings
from botrunner.strategy_handler import StrategyHandler
from botrunner.strategy_instance import Collaborators, StopSwitch, StrategyInstance
from fleet.clock import Clock, SystemClock
from fleet.config import BotConfig, ConfigInvalid, parse_config, with_hot_fields
from fleet.errors import DatabaseAway, FencedError
from fleet.log import configure_logging, get_logger
from fleet.states import ExitReason
from fleet.trading_service.connect import connect
from fleet.trading_service.lease import Claim, RunId, claim, mark_live, release
from fleet.trading_service.ledger import CheckpointConflict

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2

CLAIM_PATIENCE_S = 30.0
"""How long a fresh process tries to reach the database before it gives up."""

log = get_logger("main")

_CONFIG_ERRORS = (
    ConfigInvalid,
    UnknownBroker,
    ExchangeRefused,
    CandleFileInvalid,
    CheckpointDamaged,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bot named on the command line; returns the exit code."""
    arguments = _arguments(argv)
    try:
        settings = load_settings()
        configure_logging(level=settings.log_level, form=settings.log_format)
    except (SettingsInvalid, ValueError) as error:
        print(f"botrunner: {error}", file=os.sys.stderr)  # type: ignore[attr-defined]
        return EXIT_CONFIG
    structlog.contextvars.bind_contextvars(bot_id=arguments.bot_id, epoch=arguments.epoch)
    run = RunId(arguments.bot_id, arguments.epoch, uuid4().hex)
    try:
        return BotProcess(settings, run, SystemClock()).run()
    except FencedError as error:
        log.error("fenced", error=str(error))
        return EXIT_FENCED
    except CheckpointConflict as error:
        log.error("checkpoint_conflict", error=str(error))
        return EXIT_FENCED
    except DatabaseAway as error:
        log.error("database_away", error=str(error))
        return EXIT_FAILED


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="botrunner", description="Run one trading bot. The controller starts this; BOTFLEET_* configure it."
    )
    parser.add_argument("--bot-id", type=int, required=True, help="trading_bots.id")
    parser.add_argument("--epoch", type=int, required=True, help="trading_runs.epoch to claim")
    return parser.parse_args(argv)


class BotProcess:
    """The process around a StrategyInstance: lease, signals, release."""

    def __init__(self, settings: Settings, run: RunId, clock: Clock) -> None:
        self._settings = settings
        self._run = run
        self._clock = clock
        self._stop = StopSwitch()
        self._progress = Progress(clock)
        self._instance: StrategyInstance | None = None
        self._lease: Lease

    def run(self) -> int:
        """Claim, trade, release.

        Returns:
            The exit code.

        Raises:
            FencedError: not claimable, or lost meanwhile. DatabaseAway: never reached the database.
        """
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
            on_limits=lambda limits: self._take_limits(claimed, limits),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.request(StopRequest(ExitReason.RELEASED)))
        self._lease.start()
        try:
            reason = self._trade(claimed, fence)
        except _CONFIG_ERRORS as error:
            log.error("config_error", error=str(error))
            return self._release(EXIT_CONFIG, ExitReason.CONFIG_ERROR, str(error))
        except ExchangeAway as error:
            # only after a stop request during start-up
            log.info("stopped_while_starting", error=str(error))
            return self._release(EXIT_OK, self._stop.reason)
        except (FencedError, CheckpointConflict):
            raise
        except Exception as error:
            log.exception("failed")
            return self._release(EXIT_FAILED, ExitReason.FAILED, f"{type(error).__name__}: {error}")
        return self._release(EXIT_OK, reason)

    def _claim(self) -> Claim:
        deadline = self._clock.monotonic() + CLAIM_PATIENCE_S
        while True:
            try:
                with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} claim") as connection:
                    return claim(connection, self._run, node=self._settings.node)
            except DatabaseAway as error:
                if self._clock.monotonic() > deadline:
                    raise
                log.warning("database_away", error=str(error))
                self._clock.sleep(1.0)

    def _trade(self, claimed: Claim, fence: Fence) -> ExitReason:
        raw = with_hot_fields(claimed.config, claimed.limits) if claimed.limits else dict(claimed.config)
        handler = StrategyHandler()
        config = parse_config(raw, extra_names=handler.extra_names())
        resolved = handler.get_strategy_class(config.strategy_type)
        if resolved.fell_back:
            log.warning("strategy_unknown", type=config.strategy_type, runs="CustomStrategy")
        for notice in config.notices:
            log.warning("config_notice", notice=notice)
        broker = BrokerManager(self._settings.exchange_urls).get(config.broker_type)
        market, source = self._market(config, broker)
        ledger = Ledger(
            url=self._settings.database_url,
            run=self._run,
            config=config,
            exchange=f"{config.trading_mode}-{broker.name}",
            clock=self._clock,
            waiting=self._progress.made,
        )
        parts = Collaborators(
            strategy=resolved.cls,
            source=source,
            ledger=ledger,
            market=market,
            fence=fence,
            progress=self._progress,
            stop=self._stop,
            clock=self._clock,
            on_live=self._went_live,
        )
        self._instance = StrategyInstance(bot_id=self._run.bot_id, config=config, parts=parts)
        try:
            return self._instance.run()
        finally:
            ledger.close()

    def _market(self, config: BotConfig, broker: Broker) -> tuple[Market, CandleSource]:
        if config.data_source == "file":
            path = config.document.data.file_path
            assert path is not None, "fleet.config requires it"
            return file_market(config.symbol), FileCandles(Path(path))
        market: Market = self._patiently(lambda: broker.market(config.symbol))
        source = ExchangeCandles(
            broker,
            symbol=config.symbol,
            interval=config.interval,
            interval_ms=config.interval_s * 1000,
            clock=self._clock,
        )
        return market, source

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        wait = 0.5
        while True:
            self._progress.made()
            try:
                return ask()
            except ExchangeAway as error:
                log.warning("exchange_away", error=str(error), retry_in_s=wait)
                if self._stop.wait(wait):
                    raise
                wait = min(wait * 2, 15.0)

    def _went_live(self) -> None:
        with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} live") as connection:
            mark_live(connection, self._run)
        self._lease.hurry()
        log.info("live", since_exec_s=_since_exec_s(), resident_mb=_resident_mb())

    def _take_limits(self, claimed: Claim, limits: Mapping[str, Any]) -> None:
        try:
            config = parse_config(with_hot_fields(claimed.config, limits), extra_names=StrategyHandler().extra_names())
        except ConfigInvalid as error:
            log.error("limits_invalid", error=str(error))
            return
        log.info("limits_changed")
        if self._instance is not None:
            self._instance.replace_config(config)

    def _release(self, exit_code: int, reason: ExitReason, error_message: str | None = None) -> int:
        self._lease.stop()
        try:
            with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} release") as connection:
                release(connection, self._run, exit_code=exit_code, reason=reason, error_message=error_message)
        except DatabaseAway as error:
            # the exit code tells the controller the same, a little later
            log.warning("release_unanswered", error=str(error))
        log.info("ended", exit_code=exit_code, reason=reason, resident_mb=_resident_mb())
        return exit_code


def file_market(symbol: str) -> Market:
    """Rules for candles without an exchange: eight decimals, no minimums."""
    from decimal import Decimal

    step = Decimal("1e-8")
    quote = next((quote for quote in ("USDT", "USDC", "BTC", "ETH", "EUR") if symbol.endswith(quote)), "QUOTE")
    base = symbol.removesuffix(quote)
    return Market(
        symbol=symbol, base=base, quote=quote, tick=step, step=step, min_quantity=step, min_notional=Decimal(0)
    )


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
