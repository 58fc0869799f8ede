"""The database schema as SQLAlchemy metadata: what Alembic compares the migrated database with.

The protocol's SQL is in `fleet.trading_service`; only the command line and the migrations import this module,
since SQLAlchemy would cost every bot's process 11 MB. Money and quantities are NUMERIC, times are
timestamptz. Foreign keys never cascade: history outlives everything that refers to it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    Time,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from fleet.ids import LARGEST_ID
from fleet.states import BotStatus, ExitReason, OrderState, TradeStatus

CONFIG_BYTES = 1 << 18
"""Of a config: whatever one row holds, reading all of them stays cheap."""

EARLIEST, LATEST = "'1000-01-01 00:00:00+00'::timestamptz", "'9000-01-01 00:00:00+00'::timestamptz"
"""Moments that every program can read and reckon with lie between these."""

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

MONEY = Numeric(38, 18)
"""Wide enough for satoshi-like fractions of tokens with huge supplies; exact."""


def _now() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def _moment(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _in(column: str, values: type[BotStatus] | type[ExitReason] | type[OrderState] | type[TradeStatus]) -> str:
    return f"{column} IN ({', '.join(repr(member.value) for member in values)})"


def _bot_id(*, primary_key: bool = False) -> Column[object]:
    return Column("bot_id", BigInteger, ForeignKey("trading_bots.id"), nullable=False, primary_key=primary_key)


users = Table(
    "users",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("email", Text),
    Column("telegram_chat_id", Text),
    Column("webhook_url", Text),
    Column("timezone", Text, nullable=False, server_default=text("'UTC'")),
    Column("quiet_from", Time),
    Column("quiet_until", Time),
    _now(),
    CheckConstraint("(quiet_from IS NULL) = (quiet_until IS NULL)", name="quiet_hours"),
    comment="Tenants: whoever owns bots",
)

trading_bots = Table(
    "trading_bots",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False, server_default=text("1")),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("enabled", Boolean, nullable=False, server_default=text("false")),
    Column("config", JSONB, nullable=False),
    Column("config_version", Integer, nullable=False, server_default=text("1")),
    Column("status", Text, nullable=False, server_default=text("'stopped'")),
    Column("error_message", Text),
    Column("error_count", Integer, nullable=False, server_default=text("0")),
    _moment("started_at"),
    _moment("last_heartbeat"),
    Column("current_balance", MONEY),
    Column("total_pnl", MONEY, nullable=False, server_default=text("0")),
    Column("managed_by", Text, nullable=False, server_default=text("'sql'")),
    Column("extra_metadata", JSONB),
    _now(),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    _moment("archived_at"),
    UniqueConstraint("user_id", "name"),
    CheckConstraint("char_length(name) BETWEEN 1 AND 200", name="name_length"),
    # a quarter of what fleet.foreign reads; configs have 2 to 5 kB, and at most 2,000 values are accepted. The size is
    # that of a new value as it is and of an unchanged one as it is stored, so that a heartbeat writes no JSON out
    CheckConstraint(f"jsonb_typeof(config) = 'object' AND pg_column_size(config) <= {CONFIG_BYTES}", name="config"),
    # no pod could carry it (fleet.ids); rows from before this limit can't be enabled, but changed in every other way
    CheckConstraint(f"id BETWEEN 1 AND {LARGEST_ID} OR NOT enabled", name="id"),
    CheckConstraint(_in("status", BotStatus), name="status"),
    CheckConstraint("managed_by IN ('sql', 'api', 'gitops')", name="managed_by"),
    comment="Desired state (enabled, config, archived_at) beside the actual one (status, ...)",
)

trading_runs = Table(
    "trading_runs",
    metadata,
    _bot_id(),
    Column("epoch", BigInteger, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("config_version", Integer, nullable=False),
    Column("controller", Text, nullable=False),
    Column("runtime", Text, nullable=False),
    Column("pod_name", Text, nullable=False),
    Column("pod_uid", Text),
    Column("node", Text),
    _now(),
    Column("claimed_by", Text),
    _moment("claimed_at"),
    _moment("live_at"),
    _moment("heartbeat_at"),
    _moment("progress_at"),
    _moment("stop_requested_at"),
    Column("stop_reason", Text),
    Column("limits", JSONB),
    _moment("fenced_at"),
    _moment("ended_at"),
    Column("exit_code", Integer),
    Column("exit_reason", Text),
    Column("error_message", Text),
    Column("peak_memory_bytes", BigInteger),
    Column("settings_hash", Text),
    Column("phase", Text),
    _moment("waited_at"),
    Column("waits_for", Text),
    Column("closes_out", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("bot_id", "epoch"),
    CheckConstraint("epoch >= 1", name="epoch"),
    CheckConstraint(f"epoch <= {LARGEST_ID} OR ended_at IS NOT NULL", name="epoch_limit"),
    CheckConstraint(_in("exit_reason", ExitReason), name="exit_reason"),
    CheckConstraint("(ended_at IS NULL) = (exit_reason IS NULL)", name="ended"),
    CheckConstraint("fenced_at IS NULL OR ended_at IS NOT NULL", name="fenced"),
    CheckConstraint("char_length(waits_for) <= 500", name="waits_for"),
    Index("trading_runs_current_idx", "bot_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("trading_runs_live_idx", "live_at", postgresql_where=text("live_at IS NOT NULL")),
    # toast_tuple_target moves the config snapshot out of line, so that a heartbeat copies some 200 bytes;
    # fillfactor leaves room on the page, so that heartbeats stay HOT. Neither can be said in metadata: the
    # migration does.
    comment="One attempt at running a bot, and the lease that claim, heartbeat and fence contend for",
)

trading_inputs = Table(
    "trading_inputs",
    metadata,
    Column("bot_id", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    _moment("bar_at", nullable=False),
    Column("version", Text),
    Column("market", JSONB),
    Column("limits", JSONB),
    Column("warmup", JSONB),
    Column("denied", Text),
    PrimaryKeyConstraint("bot_id", "epoch", "bar_at"),
    ForeignKeyConstraint(["bot_id", "epoch"], ["trading_runs.bot_id", "trading_runs.epoch"]),
    comment="What a run took from outside besides candles, at the bar from which on it applied",
)

trading_orders = Table(
    "trading_orders",
    metadata,
    Column("client_order_id", Text, primary_key=True),
    _bot_id(),
    Column("epoch", BigInteger, nullable=False),
    Column("symbol", Text, nullable=False),
    _moment("signal_at", nullable=False),
    Column("leg", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("side", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("price", MONEY),
    Column("quantity", MONEY, nullable=False),
    Column("state", Text, nullable=False),
    Column("exchange_order_id", Text),
    Column("filled_quantity", MONEY, nullable=False, server_default=text("0")),
    Column("average_price", MONEY),
    Column("reason", Text, nullable=False),
    _now(),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("bot_id", "signal_at", "leg", "attempt"),
    ForeignKeyConstraint(["bot_id", "epoch"], ["trading_runs.bot_id", "trading_runs.epoch"]),
    CheckConstraint(_in("state", OrderState), name="state"),
    CheckConstraint("side IN ('buy', 'sell')", name="side"),
    CheckConstraint("quantity > 0", name="quantity"),
    Index(None, "bot_id", "created_at"),
    comment="Every order; committed as an intent before it is sent",
)

trading_fills = Table(
    "trading_fills",
    metadata,
    Column("exchange", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("exchange_trade_id", Text, nullable=False),
    _bot_id(),
    Column("client_order_id", Text, ForeignKey("trading_orders.client_order_id"), nullable=False),
    Column("price", MONEY, nullable=False),
    Column("quantity", MONEY, nullable=False),
    Column("fee", MONEY, nullable=False),
    Column("fee_currency", Text, nullable=False),
    _moment("filled_at", nullable=False),
    _now(),
    PrimaryKeyConstraint("exchange", "account", "exchange_trade_id"),
    CheckConstraint("quantity > 0", name="quantity"),
    Index(None, "client_order_id"),
    Index(None, "bot_id", "filled_at"),
    comment="Executions, once each; trades and positions are derived from them",
)

trading_positions = Table(
    "trading_positions",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    _bot_id(),
    Column("symbol", Text, nullable=False),
    Column("direction", Text, nullable=False),
    _moment("opened_at", nullable=False),
    _moment("closed_at"),
    Column("qty_open", MONEY, nullable=False),
    Column("avg_price", MONEY, nullable=False),
    Column("realized_pnl", MONEY, nullable=False, server_default=text("0")),
    Column("status", Text, nullable=False),
    UniqueConstraint("bot_id", "symbol", "opened_at"),
    CheckConstraint(_in("status", TradeStatus), name="status"),
    CheckConstraint("direction IN ('long', 'short')", name="direction"),
    Index(
        "trading_positions_open_idx",
        "bot_id",
        "symbol",
        unique=True,
        postgresql_where=text("status = 'open'"),
    ),
    comment="Open and past positions of each bot",
)

trading_trades = Table(
    "trading_trades",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    _bot_id(),
    Column("position_id", BigInteger, ForeignKey("trading_positions.id"), nullable=False),
    Column("trade_type", Text, nullable=False),
    Column("strategy_name", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("interval", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("entry_order_id", Text, ForeignKey("trading_orders.client_order_id"), nullable=False),
    Column("exit_order_id", Text, ForeignKey("trading_orders.client_order_id")),
    _moment("signal_at", nullable=False),
    _moment("entry_time", nullable=False),
    _moment("exit_time"),
    Column("entry_price", MONEY, nullable=False),
    Column("exit_price", MONEY),
    Column("entry_value", MONEY, nullable=False),
    Column("exit_value", MONEY),
    Column("size", MONEY, nullable=False),
    Column("commission", MONEY, nullable=False, server_default=text("0")),
    Column("gross_pnl", MONEY),
    Column("net_pnl", MONEY),
    Column("pnl_percentage", Numeric(20, 8)),
    Column("entry_logic_name", Text),
    Column("entry_logic_params", JSONB),
    Column("exit_logic_name", Text),
    Column("exit_logic_params", JSONB),
    Column("exit_reason", Text),
    Column("status", Text, nullable=False),
    Column("extra_metadata", JSONB),
    _now(),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("quote_currency", Text),
    UniqueConstraint("bot_id", "entry_order_id"),
    CheckConstraint(_in("status", TradeStatus), name="status"),
    CheckConstraint("direction IN ('long', 'short')", name="direction"),
    CheckConstraint("trade_type IN ('paper', 'live')", name="trade_type"),
    Index(None, "bot_id", "entry_time"),
    Index(None, "bot_id", "exit_time"),
    comment="Round trips, derived from fills and reproducible from them",
)

trading_bars = Table(
    "trading_bars",
    metadata,
    # no foreign key: a check per bar would lock the bot's row, which people and heartbeats write; the run's row, which
    # every commit locks, is proof enough
    Column("bot_id", BigInteger, nullable=False),
    _moment("bar_at", nullable=False),
    Column("symbol", Text, nullable=False),
    Column("interval", Text, nullable=False),
    Column("open", MONEY, nullable=False),
    Column("high", MONEY, nullable=False),
    Column("low", MONEY, nullable=False),
    Column("close", MONEY, nullable=False),
    Column("volume", MONEY, nullable=False),
    Column("equity", MONEY, nullable=False),
    Column("position", MONEY, nullable=False),
    # a bot that moved to another market may see bars of the same times again
    PrimaryKeyConstraint("bot_id", "bar_at", "symbol", "interval"),
    comment="What a bot saw and was worth at each committed bar; kept for some weeks",
)

trading_equity = Table(
    "trading_equity",
    metadata,
    _bot_id(),
    Column("symbol", Text, nullable=False),
    Column("interval", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("open", MONEY, nullable=False),
    _moment("open_at", nullable=False),
    Column("high", MONEY, nullable=False),
    _moment("high_at", nullable=False),
    Column("low", MONEY, nullable=False),
    _moment("low_at", nullable=False),
    Column("close", MONEY, nullable=False),
    _moment("close_at", nullable=False),
    # the day's deepest fall, between two of its own bars
    Column("fall_peak", MONEY),
    _moment("fall_peak_at"),
    Column("fall_trough", MONEY),
    _moment("fall_trough_at"),
    Column("bars", Integer, nullable=False, server_default=text("0")),
    Column("bars_in_position", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("bot_id", "symbol", "interval", "day"),
    CheckConstraint("low <= high", name="range"),
    CheckConstraint("bars_in_position BETWEEN 0 AND bars", name="exposure"),
    comment="The equity curve by UTC day, for ever; summarised from trading_bars",
)

trading_performance_metrics = Table(
    "trading_performance_metrics",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    _bot_id(),
    Column("symbol", Text, nullable=False),
    Column("interval", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("period_start", Date, nullable=False),
    Column("metrics", JSONB, nullable=False),
    _moment("calculated_at", nullable=False),
    _moment("source_at"),
    _now(),
    UniqueConstraint("bot_id", "symbol", "interval", "period", "period_start", name="trading_performance_metrics_key"),
    CheckConstraint("period IN ('day', 'week', 'month', 'all')", name="period"),
    comment="What a bot achieved, per market and period (UTC); `source_at` is the checkpoint's time it was made of",
)

trading_checkpoints = Table(
    "trading_checkpoints",
    metadata,
    _bot_id(primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("interval", Text, nullable=False),
    _moment("last_bar_at"),
    Column("bars", BigInteger, nullable=False, server_default=text("0")),
    Column("balance", MONEY, nullable=False),
    Column("total_pnl", MONEY, nullable=False, server_default=text("0")),
    Column("broker_state", JSONB, nullable=False),
    Column("strategy_state", JSONB, nullable=False),
    _now(),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    comment="Where a bot goes on after a restart; committed together with the bar's orders and trades",
)

trading_notifications = Table(
    "trading_notifications",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    # no foreign keys: what happened is written in transactions that must not wait for those rows
    Column("bot_id", BigInteger),
    Column("user_id", BigInteger),
    Column("epoch", BigInteger),
    Column("kind", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("facts", JSONB),
    Column("dedupe_key", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _moment("routed_at"),
    _moment("delivered_at"),
    Column("last_error", Text),
    _now(),
    CheckConstraint("severity IN ('info', 'warning', 'critical')", name="severity"),
    CheckConstraint("state IN ('pending', 'delivered', 'failed', 'suppressed')", name="state"),
    Index(None, "bot_id", "created_at"),
    Index(
        "trading_notifications_unrouted_idx",
        "id",
        postgresql_where=text("state = 'pending' AND routed_at IS NULL"),
    ),
    comment="Outbox and history of everything a person may be told",
)

tenant_limits = Table(
    "tenant_limits",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False, primary_key=True),
    Column("trade_type", Text, nullable=False, primary_key=True),
    Column("currency", Text, nullable=False, primary_key=True),
    Column("max_exposure", MONEY),
    Column("max_open_positions", Integer),
    Column("max_daily_loss", MONEY),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("trade_type IN ('paper', 'live')", name="trade_type"),
    CheckConstraint("max_exposure > 0 AND max_open_positions >= 0 AND max_daily_loss > 0", name="sense"),
    comment="What all bots of an owner together may do, by kind of money; changed by hand, read at each entry",
)

tenant_reservations = Table(
    "tenant_reservations",
    metadata,
    _bot_id(primary_key=True),
    Column("trade_type", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", MONEY, nullable=False),
    _moment("reserved_at", nullable=False),
    comment="Room in the tenant's limits that an entry has taken and that is no position yet",
)

notification_deliveries = Table(
    "notification_deliveries",
    metadata,
    Column("notification_id", BigInteger, ForeignKey("trading_notifications.id"), nullable=False),
    Column("channel", Text, nullable=False),
    Column("message_id", BigInteger, nullable=False),
    Column("critical", Boolean, nullable=False),
    Column("kind", Text, nullable=False),
    Column("bot_id", BigInteger),
    Column("target", Text),
    Column("target_hash", Text),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _moment("attempted_at"),
    _moment("next_attempt_at"),
    _moment("expires_at"),
    _moment("delivered_at"),
    Column("last_error", Text),
    Column("idempotency_key", Text, nullable=False),
    _now(),
    PrimaryKeyConstraint("notification_id", "channel"),
    CheckConstraint("channel IN ('telegram', 'email', 'webhook')", name="channel"),
    CheckConstraint("state IN ('pending', 'delivered', 'failed', 'skipped')", name="state"),
    CheckConstraint("state <> 'pending' OR next_attempt_at IS NOT NULL", name="due"),
    Index(
        "notification_deliveries_due_idx",
        "next_attempt_at",
        postgresql_where=text("state = 'pending' AND message_id = notification_id"),
    ),
    Index("notification_deliveries_message_idx", "message_id", "channel"),
    Index("notification_deliveries_target_idx", "channel", "target_hash", "attempted_at"),
    comment="What became of a notification on each channel; rows of one message_id were one message",
)

trading_errors = Table(
    "trading_errors",
    metadata,
    _bot_id(primary_key=True),
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("part", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    _moment("first_seen", nullable=False),
    _moment("last_seen", nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("last_message", Text, nullable=False),
    CheckConstraint("count > 0", name="count"),
    Index(None, "hour"),
    comment="What went wrong in bots, counted by hour and kind; secrets masked, messages capped",
)

exchange_markets = Table(
    "exchange_markets",
    metadata,
    Column("exchange", Text, primary_key=True),
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("rules", JSONB),
    _moment("fetched_at"),
    Column("fetched_by", BigInteger),
    _moment("claimed_at"),
    Column("claimed_by", BigInteger),
    CheckConstraint(
        "char_length(exchange) <= 50 AND char_length(venue) <= 300 AND char_length(symbol) <= 50", name="names"
    ),
    CheckConstraint("jsonb_typeof(rules) = 'object' AND octet_length(rules::text) <= 2000", name="rules"),
    CheckConstraint("(rules IS NULL) = (fetched_at IS NULL)", name="fetched"),
    comment="Rules of markets, asked for by one bot and read by all; a row without rules is being asked for",
)

exchange_pauses = Table(
    "exchange_pauses",
    metadata,
    Column("exchange", Text, primary_key=True),
    Column("venue", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    _moment("until", nullable=False),
    Column("reason", Text, nullable=False),
    _moment("told_at", nullable=False),
    Column("told_by", BigInteger, nullable=False),
    CheckConstraint(
        "char_length(exchange) <= 50 AND char_length(venue) <= 300 AND char_length(address) <= 300"
        " AND char_length(reason) <= 500",
        name="names",
    ),
    CheckConstraint("until <= told_at + interval '3 days'", name="until"),
    comment="Until when an exchange wants no request from an address; holds for all bots behind it",
)

broker_accounts = Table(
    "broker_accounts",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("encrypted_data_key", LargeBinary, nullable=False),
    Column("encrypted_credentials", LargeBinary, nullable=False),
    _now(),
    _moment("rotated_at"),
    _moment("revoked_at"),
    UniqueConstraint("user_id", "name"),
    comment="Exchange credentials, envelope-encrypted; no plaintext ever",
)

controller_shards = Table(
    "controller_shards",
    metadata,
    Column("shard", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("holder", Text),
    _moment("renewed_at"),
    Column("settings_hash", Text),
    comment="Fenced leases that share the work between controllers",
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    _now(),
    _moment("expires_at", nullable=False),
    _moment("revoked_at"),
    CheckConstraint("role IN ('viewer', 'trader', 'operator', 'admin')", name="role"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("before", JSONB),
    Column("after", JSONB),
    Column("reason", Text),
    comment="Append-only: who changed what",
)

# what is read, or reckoned with in SQL, in batches: one moment that can't be would spoil the look at all rows
for _table in (
    trading_bots,
    trading_runs,
    trading_checkpoints,
    trading_performance_metrics,
    trading_notifications,
    notification_deliveries,
    tenant_reservations,
    exchange_markets,
    exchange_pauses,
    controller_shards,
):
    _moments = [column.name for column in _table.columns if isinstance(column.type, DateTime)]
    _sound = " AND ".join(f"{name} BETWEEN {EARLIEST} AND {LATEST}" for name in _moments)
    _table.append_constraint(CheckConstraint(_sound, name="moments"))
