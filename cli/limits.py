"""`botfleet limits`: what all bots of an owner together may hold and lose."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from cli.connection import database
from cli.output import Output, number, show
from fleet.errors import NotFound, PermanentError
from fleet.trading_service import admin, tenants

app = typer.Typer(help="Limits over all bots of an owner, for each quote currency.", no_args_is_help=True)

UserOption = Annotated[str, typer.Option("--user", help="The owner's name or id.")]
ModeOption = Annotated[str, typer.Option("--mode", help="paper or live; the two are never added.")]
CurrencyArgument = Annotated[str, typer.Argument(help="The quote currency that the limits are in: USDT, BTC.")]

_COLUMNS = {
    "OWNER": lambda row: row["user_name"],
    "MODE": lambda row: row["trade_type"],
    "CURRENCY": lambda row: row["currency"],
    "EXPOSURE": lambda row: f"{number(row['exposure'])} of {_limit(row['max_exposure'])}",
    "POSITIONS": lambda row: f"{row['positions']} of {_limit(row['max_open_positions'])}",
    "LOSS TODAY": lambda row: f"{number(max(-row['pnl'], Decimal(0)))} of {_limit(row['max_daily_loss'])}",
}


@app.command("list")
def list_(output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.TABLE) -> None:
    """All limits and how much of each is in use. Today is the machine's UTC day."""
    with database() as connection:
        rows = tenants.list_limits(connection, now=datetime.now(UTC))
    show(rows, output=output, columns=_COLUMNS, empty="no limits: `botfleet limits set` makes some")


@app.command("set")
def set_(
    currency: CurrencyArgument,
    user: UserOption = "1",
    mode: ModeOption = "paper",
    max_exposure: Annotated[str | None, typer.Option(help="Value of all open positions at their entry prices.")] = None,
    max_open_positions: Annotated[int | None, typer.Option(min=0, help="Bots that hold a position.")] = None,
    max_daily_loss: Annotated[str | None, typer.Option(help="Realised loss per UTC day, net of fees.")] = None,
) -> None:
    """Replace an owner's limits for one currency; in force at each bot's next entry. What isn't given is unlimited."""
    if max_exposure is None and max_open_positions is None and max_daily_loss is None:
        raise PermanentError("limits set: give --max-exposure, --max-open-positions or --max-daily-loss")
    with database() as connection:
        tenants.set_limits(
            connection,
            user_id=admin.user_id_of(connection, user),
            trade_type=_mode(mode),
            currency=currency,
            max_exposure=_amount("--max-exposure", max_exposure),
            max_open_positions=max_open_positions,
            max_daily_loss=_amount("--max-daily-loss", max_daily_loss),
        )


@app.command()
def clear(currency: CurrencyArgument, user: UserOption = "1", mode: ModeOption = "paper") -> None:
    """Remove an owner's limits for one currency."""
    with database() as connection:
        user_id = admin.user_id_of(connection, user)
        if not tenants.clear_limits(connection, user_id=user_id, trade_type=_mode(mode), currency=currency):
            raise NotFound(f"there are no {mode} limits in {currency} for {user}: `botfleet limits list` shows all")


def _limit(value: Decimal | int | None) -> str:
    return "any" if value is None else number(Decimal(value))


def _mode(mode: str) -> str:
    if mode not in ("paper", "live"):
        raise PermanentError(f"--mode is {mode!r}: use paper or live")
    return mode


def _amount(option: str, text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not (amount.is_finite() and 0 < amount < Decimal("1e18")):
        raise PermanentError(f"{option} is {text!r}: give an amount above 0")
    return amount
