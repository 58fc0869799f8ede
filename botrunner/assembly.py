"""Puts one bot together from its claim: config, broker, candles, ledger, strategy. Wiring only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from botrunner.engine.collaborators import Collaborators
from botrunner.engine.strategy_instance import StrategyInstance
from botrunner.exchange.broker import Broker, BrokerManager
from botrunner.exchange.errors import ExchangeAway
from botrunner.exchange.guarded_broker import GuardedBroker
from botrunner.exchange.market_rules_cache import MarketRulesCache
from botrunner.exchange.outage import Outage
from botrunner.exchange.shared_rate_limit import SharedRateLimit
from botrunner.exchange.stream import CandleStream
from botrunner.execution.paper.venue import paper_venue
from botrunner.feeds.health import FeedWatch
from botrunner.feeds.source import CandleSource, ExchangeCandles, FileCandles, LocalTurn
from botrunner.ledger.inputs import InputRecorder
from botrunner.ledger.ledger import Ledger
from botrunner.market.rules import Market
from botrunner.process.backoff import EXCHANGE
from botrunner.process.fence import Fence
from botrunner.process.progress import Progress
from botrunner.process.retry import Retrier, exchange_away
from botrunner.process.stop import StopSwitch
from botrunner.settings import Settings
from botrunner.strategies.isolation import untrusted_code
from botrunner.strategies.strategy_handler import StrategyHandler, strings_in
from fleet.clock import Clock
from fleet.config import BotConfig, ConfigInvalid, RunningConfig, parse_config, with_hot_fields
from fleet.errors import ConfigUnusable
from fleet.foreign import Unreadable, clean_text
from fleet.log import get_logger
from fleet.states import ExitReason
from fleet.trading_service.lease import Claim, RunId

log = get_logger("assembly")

CLOSE_OUT = "the bot failed too often and isn't started to trade again"
"""Why a run only closes what is open."""


class Bot:
    """A claimed bot, ready to trade.

    Args:
        on_live: called once, when warm-up is over.
        rate_limit_of: makes the bot's part in the rate limit of an exchange, by the broker's name.

    Raises:
        ConfigUnusable: the snapshot can't be run; the message names the path.
        ExchangeAway: the exchange didn't answer before a stop was asked for.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        run: RunId,
        claimed: Claim,
        fence: Fence,
        progress: Progress,
        stop: StopSwitch,
        clock: Clock,
        on_live: Callable[[], None],
        rate_limit_of: Callable[[str], SharedRateLimit],
    ) -> None:
        progress.enter("reads its config")
        self._raw = _readable("config", claimed.config)
        self._bot_id = run.bot_id
        # a run that only closes what is open imports no package: one of them may be what ends the others
        wanted = () if claimed.closes_out else strings_in(self._raw.get("strategy"))
        self._handler = StrategyHandler(only=wanted)
        self._progress = progress
        self._stop = stop
        self._clock = clock
        with untrusted_code():  # the parameters' models of packages run in it
            config = self._parse(None if claimed.limits is None else _readable("limits", claimed.limits))
        resolved = self._handler.get_strategy_class(config.strategy_type)
        if resolved.fell_back and not claimed.closes_out:
            log.warning("strategy_unknown", type=config.strategy_type, runs="CustomStrategy")
        for notice in config.notices:
            log.warning("config_notice", notice=notice)
        progress.enter("loads its broker")
        found = BrokerManager(settings.exchange_urls).get(config.broker_type)
        inputs = InputRecorder()
        self._running = RunningConfig(config)
        self._ledger = Ledger(
            url=settings.database_url,
            run=run,
            config=self._running,
            exchange=f"{config.trading_mode}-{found.name}",
            owner=claimed.user_id,
            clock=clock,
            waiting=progress.made,
            inputs=inputs,
        )
        rate_limit = rate_limit_of(found.name)
        broker = GuardedBroker(
            found,
            clock=clock,
            rate_limit=rate_limit,
            outage=Outage(bot_id=run.bot_id, epoch=run.epoch, exchange=found.name, after_s=settings.exchange_away_s),
            report=lambda event: self._ledger.note([event]),
        )
        market, source = self._market(config, broker, rate_limit)
        self._ledger.set_quote_currency(market.quote)
        if config.allow_short and not market.can_short:
            log.warning("config_notice", notice=f"trading.allow_short: {broker.name} sells nothing it doesn't hold")
        exchange = source if isinstance(source, ExchangeCandles) else None
        parts = Collaborators(
            strategy=resolved.cls,
            source=inputs.recording(source, market),
            ledger=self._ledger,
            market=market,
            venue=paper_venue(config, market, bot_id=run.bot_id),
            fence=fence,
            progress=progress,
            stop=stop,
            clock=clock,
            on_live=on_live,
            exchange=broker.name,
            note=self._ledger.note,
            exchange_ms=exchange.exchange_ms if exchange else lambda: None,
            turn=exchange.turn if exchange else lambda _: LocalTurn(),
            watch=_watch(run, config) if exchange else None,
            stream=self._stream(config, broker) if exchange else None,
            config_version=claimed.config_version,
            budget=settings.budget,
            close_out=CLOSE_OUT if claimed.closes_out else None,
        )
        self._instance = StrategyInstance(bot_id=run.bot_id, config=self._running, parts=parts)

    def trade(self) -> ExitReason:
        """Trade until asked to stop (see `StrategyInstance.run`)."""
        try:
            return self._instance.run()
        finally:
            self._ledger.close()

    def abandon(self) -> None:
        """Write nothing any more; called from another thread when the main one doesn't leave."""
        self._ledger.abandon()

    def take_limits(self, limits: Mapping[str, Any]) -> None:
        """Take over changed limits, from the next bar on, and notification switches, from the next event on; called
        from the heartbeat's thread."""
        try:
            config = self._parse(limits)
        except ConfigUnusable as error:
            log.error("limits_invalid", error=str(error))
            return
        log.info("limits_changed")
        self._running.replace(config)

    def _parse(self, limits: Mapping[str, Any] | None) -> BotConfig:
        raw = with_hot_fields(self._raw, limits) if limits is not None else dict(self._raw)
        try:
            return parse_config(raw, extra_names=self._handler.extra_names())
        except ConfigInvalid as error:
            raise ConfigUnusable(str(error)) from error

    def _market(self, config: BotConfig, broker: Broker, rate_limit: SharedRateLimit) -> tuple[Market, CandleSource]:
        if config.data_source == "file":
            return self._file(config)
        retrier = Retrier(
            on=ExchangeAway,
            backoff=EXCHANGE,
            pause=self._stop.wait,
            alive=self._progress.made,
            failed=exchange_away(self._progress, broker.name),
        )
        self._progress.enter(f"asks {broker.name} for the rules of {config.symbol}")
        rate_limit.begin(self._ledger.consult)
        rules = MarketRulesCache(
            broker,
            address=rate_limit.address,
            bot_id=self._bot_id,
            consult=self._ledger.consult,
            pause=self._stop.wait,
            alive=self._progress.made,
            clock=self._clock,
        )
        market = retrier.call(lambda: rules.market(config.symbol))
        interval_ms = config.interval_s * 1000
        source = ExchangeCandles(
            broker,
            symbol=config.symbol,
            interval=config.interval,
            interval_ms=interval_ms,
            clock=self._clock,
            turn=lambda: rate_limit.turn(interval_ms),
        )
        return market, source

    def _file(self, config: BotConfig) -> tuple[Market, CandleSource]:
        """The candles of the config's file, and the rules that it shows.

        Raises:
            CandleFileInvalid: it can't be used.
        """
        # most bots trade on an exchange and don't pay for it
        from botrunner.feeds.files.market import candle_file, rules_of_file

        path = config.document.data.file_path
        assert path is not None, "fleet.config requires it"
        self._progress.enter(f"reads {clean_text(path, 200, lines=False)}")
        file = candle_file(Path(path), config)
        found = file.survey()
        log.info(
            "candle_file",
            path=path,
            kind=file.kind,
            candles=found.candles,
            interval_from=file.interval_from,
            times=file.times,
            tick=str(file.tick),
            gaps=found.gaps,
            missing=found.missing,
            jumps=found.jumps,
        )
        for note in file.notes:
            log.warning("candle_file_notice", notice=note)
        pace_s = config.interval_s if config.document.data.simulate_realtime else 0
        return rules_of_file(file, config.symbol), FileCandles(file.candles, pace_s=pace_s, clock=self._clock)

    def _stream(
        self, config: BotConfig, broker: GuardedBroker
    ) -> Callable[[Callable[[int], None]], CandleStream] | None:
        """How to listen for closed candles; None when the config or the broker has no stream."""
        spec = broker.candle_stream(config.symbol, config.interval) if config.document.data.stream else None
        if spec is None:
            return None
        return lambda on_closed: CandleStream(
            spec, interval_s=config.interval_s, on_closed=on_closed, clock=self._clock
        )


def _readable(column: str, document: Mapping[str, Any] | Unreadable) -> Mapping[str, Any]:
    if isinstance(document, Unreadable):
        raise ConfigUnusable(f"{column}: {document.reason}")
    return document


def _watch(run: RunId, config: BotConfig) -> FeedWatch:
    return FeedWatch(
        bot_id=run.bot_id, symbol=config.symbol, interval=config.interval, interval_ms=config.interval_s * 1000
    )
