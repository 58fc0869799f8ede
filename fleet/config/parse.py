"""From a document of unknown origin to a BotConfig, or to every reason why not.

Order: shape (scan), sections (pydantic), strategy parameters by name, rules across sections. A document too
deep or too large is refused after the first step; all other errors are reported together. Nothing but
ConfigInvalid is raised, whatever is given. Pure: no I/O.

Where a document has two places for one value (`symbol`, position size, cash, commission, drawdown), either
may be used; two different values are an error, so neither ever silently wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from fleet.config.bot import (
    DEFAULT_POSITION_FRACTION,
    BotConfig,
    CustomParameters,
    LogicSpec,
    RiskLimits,
    StopLossGuard,
    StrategyParameters,
)
from fleet.config.document import (
    NOT_IN_EFFECT,
    ConfigDocument,
    CustomSection,
    PositionSize,
    StopLossGuardSection,
    StrategySection,
)
from fleet.config.errors import MAX_REPORTED, ConfigError, ConfigInvalid
from fleet.config.extras import NO_EXTRAS, ExtraNames, Models
from fleet.config.mixins import ENTRY_PARAMS, EXIT_PARAMS
from fleet.config.params import MixinParams
from fleet.config.rules import cross_errors, value_at
from fleet.config.scan import Tree, join, one_line, scan, shown
from fleet.config.strategy_params import STRATEGY_PARAMS
from fleet.config.translate import nearest, translate

PARAMETERS = "strategy.parameters"
CUSTOM_STRATEGY = "CustomStrategy"
_BUILT_IN: frozenset[type[BaseModel]] = frozenset(
    {*ENTRY_PARAMS.values(), *EXIT_PARAMS.values(), *STRATEGY_PARAMS.values()}
)
M = TypeVar("M", bound=BaseModel)

Parameters = CustomParameters | StrategyParameters


class Kind(StrEnum):
    """Which half of CustomStrategy a mixin is."""

    ENTRY = "entry"
    EXIT = "exit"

    @property
    def prefix(self) -> str:
        """What older configurations put before a parameter's name."""
        return "e_" if self is Kind.ENTRY else "x_"


def parse_config(raw: object, /, *, extra_names: ExtraNames = NO_EXTRAS) -> BotConfig:
    """The configuration that `raw`, decoded JSON, describes.

    Raises:
        ConfigInvalid: with every error of the document, whatever `raw` is.
    """
    tree, faults = scan(raw)
    if tree is None:
        raise ConfigInvalid(faults)
    errors = list(faults)
    document = _section(ConfigDocument, tree, base="", errors=errors)
    parameters = _strategy_parameters(tree, extra_names, errors)
    bars_needed = _bars_needed(parameters, errors)
    errors += cross_errors(tree, brokers=extra_names.brokers, bars_needed=bars_needed)
    if errors or document is None or parameters is None:
        raise ConfigInvalid(_bounded(errors))
    return _assembled(tree, document, parameters)


def validate_config(raw: object, *, extra_names: ExtraNames = NO_EXTRAS) -> tuple[ConfigError, ...]:
    """Every error of `raw`; empty when it can be run."""
    try:
        parse_config(raw, extra_names=extra_names)
    except ConfigInvalid as invalid:
        return invalid.errors
    return ()


def validate_strategy(raw: object, *, extra_names: ExtraNames = NO_EXTRAS) -> tuple[ConfigError, ...]:
    """Every error of a `strategy` section alone; paths start with `strategy`."""
    tree, faults = scan({"strategy": raw})
    errors = list(faults)
    if tree is not None:
        _section(StrategySection, tree["strategy"], base="strategy", errors=errors)
        _strategy_parameters(tree, extra_names, errors)
    return _bounded(errors)


def _assembled(tree: Tree, document: ConfigDocument, parameters: Parameters) -> BotConfig:
    """The pieces of a document without errors, one value where there were two places for it."""
    risk = document.risk_management
    if isinstance(parameters, CustomParameters):
        entry, exit_ = parameters.entry, parameters.exit
    else:
        entry = exit_ = LogicSpec(document.strategy.type, parameters)
    return BotConfig(
        document=document,
        symbol=document.symbol or document.data.symbol or "",  # one of them is there: cross_errors
        strategy_parameters=parameters,
        entry=entry,
        exit=exit_,
        position_fraction=_position_fraction(tree, document),
        risk=RiskLimits(
            max_position_size=risk.max_position_size,
            stop_loss_pct=risk.stop_loss_pct,
            take_profit_pct=risk.take_profit_pct,
            trailing_stop_pct=None if risk.trailing_stop is False else risk.trailing_stop_pct,
            max_daily_loss=risk.max_daily_loss,
            max_daily_trades=risk.max_daily_trades,
            max_drawdown_pct=risk.max_drawdown_pct or document.trading.max_drawdown_pct,
            cooldown_bars=risk.cooldown_bars,
            max_exposure=risk.max_exposure or document.trading.max_exposure,
            max_portfolio_risk_pct=risk.max_portfolio_risk,
            stop_loss_guard=_guard(risk.stop_loss_guard),
        ),
        notices=tuple(f"{path} {why}" for path, why in NOT_IN_EFFECT.items() if value_at(tree, path) is not None),
    )


def _guard(section: StopLossGuardSection | None) -> StopLossGuard | None:
    return None if section is None else StopLossGuard(**section.model_dump())


def _position_fraction(tree: Tree, document: ConfigDocument) -> Decimal:
    if document.trading.position_size is not None:
        return document.trading.position_size
    legacy = PositionSize.model_validate({"position_size": value_at(tree, f"{PARAMETERS}.position_size")})
    return legacy.position_size or DEFAULT_POSITION_FRACTION


def _strategy_parameters(tree: Tree, extra: ExtraNames, errors: list[ConfigError]) -> Parameters | None:
    """The validated parameters, or None with the reasons in `errors`.

    A strategy type that nobody knows runs CustomStrategy, so its parameters are judged as that one's. Not when
    they name no mixin either: then the type is a mistake. Nor when a broken package offers the type: another
    strategy must not trade in its place.
    """
    raw = value_at(tree, PARAMETERS)
    if not isinstance(raw, dict):
        return None  # the section's own check has said so
    kind = value_at(tree, "strategy.type")
    strategies: Models = {**extra.strategies, **STRATEGY_PARAMS}
    if isinstance(kind, str) and kind in strategies:
        own = {key: value for key, value in raw.items() if key != "position_size"}
        _section(PositionSize, {"position_size": raw.get("position_size")}, base=PARAMETERS, errors=errors)
        return _parameters(strategies[kind], own, base=PARAMETERS, errors=errors)
    if isinstance(kind, str) and kind != CUSTOM_STRATEGY:
        no_mixins = "entry_logic" not in raw and "exit_logic" not in raw
        if kind in extra.broken or no_mixins:
            known = [CUSTOM_STRATEGY, *strategies]
            errors.append(_unknown("strategy.type", "strategy", kind, known, extra.broken))
            return None
    _section(CustomSection, raw, base=PARAMETERS, errors=errors)
    entry = _logic(raw, Kind.ENTRY, {**extra.entries, **ENTRY_PARAMS}, extra.broken, errors)
    exit_ = _logic(raw, Kind.EXIT, {**extra.exits, **EXIT_PARAMS}, extra.broken, errors)
    return CustomParameters(entry=entry, exit=exit_) if entry and exit_ else None


def _logic(
    raw: Tree, kind: Kind, models: Models, broken: Mapping[str, str], errors: list[ConfigError]
) -> LogicSpec | None:
    base = f"{PARAMETERS}.{kind}_logic"
    section = raw.get(f"{kind}_logic")
    name = section.get("name") if isinstance(section, dict) else None
    if not isinstance(section, dict) or not isinstance(name, str) or not name:
        return None  # the section's own check has said so
    if name not in models:
        errors.append(_unknown(f"{base}.name", f"{kind} mixin", name, list(models), broken))
        return None
    given = [key for key in ("params", "logic_params") if section.get(key) is not None]
    if len(given) == 2:
        errors.append(ConfigError(f"{base}.logic_params", "is another spelling of params", "remove one"))
        return None
    key = given[0] if given else "params"
    params = section.get(key) or {}
    if not isinstance(params, dict):
        return None  # the section's own check has said so
    checked = _parameters(models[name], params, base=f"{base}.{key}", errors=errors, prefix=kind.prefix)
    return None if checked is None else LogicSpec(name, checked)


def _unknown(path: str, what: str, name: str, known: list[str], broken: Mapping[str, str]) -> ConfigError:
    if name in broken:
        return ConfigError(path, f"{what} {shown(name)} can't be used", one_line(broken[name], 300))
    return ConfigError(path, f"unknown {what} {shown(name)}", nearest(name, known))


def _parameters(
    model: type[BaseModel] | None, raw: Tree, *, base: str, errors: list[ConfigError], prefix: str = ""
) -> StrategyParameters | None:
    """`raw` as `model`; a key may carry the legacy `prefix`, and errors keep the document's spelling."""
    if model is None:
        return raw
    plain: Tree = {}
    spelling: dict[str, str] = {}
    for key, value in raw.items():
        bare = key.removeprefix(prefix)
        canonical = bare if bare in model.model_fields and key not in model.model_fields else key
        if canonical in plain:
            errors.append(ConfigError(join(base, key), f"is the same as {spelling[canonical]}", "remove one"))
            continue
        plain[canonical] = value
        spelling[canonical] = key
    if model in _BUILT_IN:
        return _section(model, plain, base=base, errors=errors, spelling=spelling)
    return _foreign(model, plain, base=base, errors=errors, spelling=spelling)


def _foreign(
    model: type[M], raw: Tree, *, base: str, errors: list[ConfigError], spelling: Mapping[str, str]
) -> M | None:
    """`raw` as a package's model, whose own code may fail in any way, or give what a trade's record can't hold."""
    try:
        made = _section(model, raw, base=base, errors=errors, spelling=spelling)
        if made is not None:
            made.model_dump_json()
    except (Exception, SystemExit) as error:
        errors.append(_foreign_fault(model, base, error))
        return None
    return made


def _foreign_fault(model: type[BaseModel], path: str, error: BaseException) -> ConfigError:
    where = f"{model.__module__}.{model.__qualname__}"
    return ConfigError(
        path,
        f"{where} failed: {type(error).__name__}: {one_line(str(error), 200)}",
        "a mistake of the package that it belongs to",
    )


def _section(
    model: type[M],
    raw: object,
    *,
    base: str,
    errors: list[ConfigError],
    spelling: Mapping[str, str] | None = None,
) -> M | None:
    try:
        return model.model_validate(raw)
    except ValidationError as invalid:
        errors += translate(invalid, model=model, base=base, spelling=spelling or {})
    return None


def _bars_needed(parameters: Parameters | None, errors: list[ConfigError]) -> int:
    """What the strategy looks back, 0 if it doesn't say."""
    pairs: list[tuple[object, str]]
    if isinstance(parameters, CustomParameters):
        pairs = [
            (parameters.entry.params, f"{PARAMETERS}.entry_logic"),
            (parameters.exit.params, f"{PARAMETERS}.exit_logic"),
        ]
    else:
        pairs = [(parameters, PARAMETERS)]
    needed = 0
    for params, path in pairs:
        if not isinstance(params, MixinParams):
            continue
        try:
            needed = max(needed, int(params.bars_needed))
        except Exception as error:  # a package's own property
            errors.append(_foreign_fault(type(params), path, error))
    return needed


def _bounded(errors: list[ConfigError]) -> tuple[ConfigError, ...]:
    """At most MAX_REPORTED of `errors`, of each path only the first: it is the most basic one."""
    first = list({error.path: error for error in reversed(errors)}.values())[::-1]
    if len(first) <= MAX_REPORTED:
        return tuple(first)
    more = ConfigError("", f"has {len(first) - MAX_REPORTED} more errors")
    return (*first[:MAX_REPORTED], more)
