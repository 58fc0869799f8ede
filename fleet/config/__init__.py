"""The configuration of a bot (`trading_bots.config`): what it may say, and what it means.

`parse_config` turns a document of any origin into a `BotConfig` or raises `ConfigInvalid` with every error
and its path. No I/O and no Backtrader: the controller validates with exactly the models that the bot runs.
"""

from __future__ import annotations

from fleet.config.bot import BotConfig, CustomParameters, LogicSpec, RiskLimits, StopLossGuard, StrategyParameters
from fleet.config.document import FillPrice, NotificationsSection, OnFailure, OnStop, OrderKind, SlippageModel
from fleet.config.errors import ConfigError, ConfigInvalid
from fleet.config.extras import NO_EXTRAS, ExtraNames
from fleet.config.hot import HOT_FIELDS, RunningConfig, hot_fields, only_hot_fields_differ, with_hot_fields
from fleet.config.parse import parse_config, validate_config, validate_strategy
from fleet.config.schema import json_schema

__all__ = [
    "HOT_FIELDS",
    "NO_EXTRAS",
    "BotConfig",
    "ConfigError",
    "ConfigInvalid",
    "CustomParameters",
    "ExtraNames",
    "FillPrice",
    "LogicSpec",
    "NotificationsSection",
    "OnFailure",
    "OnStop",
    "OrderKind",
    "RiskLimits",
    "RunningConfig",
    "SlippageModel",
    "StopLossGuard",
    "StrategyParameters",
    "hot_fields",
    "json_schema",
    "only_hot_fields_differ",
    "parse_config",
    "validate_config",
    "validate_strategy",
    "with_hot_fields",
]
