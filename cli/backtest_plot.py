"""Draws a backtest: price with entries and exits, equity, drawdown; as a picture or as one HTML file.

matplotlib is imported when a plot is asked for; its figure is used without pyplot, so no display is looked for.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape as escape_html
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.backtest_report import counted, counted_failures, metric_lines
from cli.output import cell, number
from fleet.errors import PermanentError

if TYPE_CHECKING:
    from botrunner.backtest.run import Backtest

DPI = 110
SHOWN_TRADES = 2_000
"""More rows than this make a page that browsers scroll badly; `--trades FILE` has them all."""

_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f24 }
img { width: 100%; height: auto }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #e3e6ea } .r { text-align: right }
.loss { color: #b3261e } .gain { color: #1a7f37 } .scroll { overflow-x: auto }
"""


def escape(foreign: object) -> str:
    """A text as it may stand in a page: literally, whatever it holds."""
    return escape_html(cell(foreign).plain)


def require_matplotlib() -> None:
    """Check before hours of work that a plot can be drawn.

    Raises:
        PermanentError: matplotlib isn't installed.
    """
    if find_spec("matplotlib") is None:
        raise PermanentError("--plot needs matplotlib, which isn't installed: pip install 'botfleet[backtest]'")


def draw(path: Path, done: Backtest, *, metrics: Mapping[str, Any], title: str) -> None:
    """Write the plot.

    Raises:
        PermanentError: the file can't be written, or matplotlib can't be imported.
    """
    picture = _picture(done, title)
    try:
        if path.suffix == ".html":
            path.write_text(_page(done, metrics, title, picture), encoding="utf-8")
        else:
            path.write_bytes(picture)
    except OSError as error:
        raise PermanentError(f"{path} can't be written: {error}") from error


def _picture(done: Backtest, title: str) -> bytes:
    require_matplotlib()
    from matplotlib.figure import Figure

    times = [bar.at for bar in done.equity]
    figure = Figure(figsize=(12, 9), layout="constrained")
    price, equity, drawdown = figure.subplots(3, 1, sharex=True, height_ratios=[3, 2, 1])
    # a $ in a foreign name would begin a formula
    said = f"{title}: {done.config.entry.name} / {done.config.exit.name}"
    price.set_title(cell(said).plain, loc="left", parse_math=False)
    price.plot(times, [float(bar.close) for bar in done.equity], color="#57606a", linewidth=0.8)
    trades = [*done.trades, *([done.open_trade] if done.open_trade else [])]
    _marks(price, trades, "entry", {"long": "^", "short": "v"}, "#1a7f37")
    _marks(price, [t for t in trades if t["exit_time"]], "exit", {"long": "v", "short": "^"}, "#b3261e")
    price.set_ylabel(cell(f"price, {done.market.quote}").plain, parse_math=False)
    if trades:
        price.legend(loc="upper left", frameon=False)
    equity.plot(times, [float(bar.equity) for bar in done.equity], color="#0969da", linewidth=1)
    equity.set_ylabel(cell(f"equity, {done.market.quote}").plain, parse_math=False)
    drawdown.fill_between(times, _drawdown(done), color="#b3261e", alpha=0.4, linewidth=0)
    drawdown.set_ylabel("drawdown, %")
    for axes in (price, equity, drawdown):
        axes.grid(alpha=0.25)
        axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    drawdown.set_xlabel("UTC")
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=DPI)
    return written.getvalue()


def _marks(axes: Any, trades: Sequence[Mapping[str, Any]], side: str, marks: Mapping[str, str], colour: str) -> None:
    for direction, mark in marks.items():
        found = [trade for trade in trades if trade["direction"] == direction]
        if found:
            axes.scatter(
                [trade[f"{side}_time"] for trade in found],
                [float(trade[f"{side}_price"]) for trade in found],
                marker=mark,
                s=18,
                color=colour,
                linewidths=0,
                zorder=3,
                label=f"{direction} {side}",
            )


def _drawdown(done: Backtest) -> list[float]:
    """Percent below the highest equity so far, per bar: for the eye; the metrics have the exact one."""
    peak, fallen = done.start_balance, []
    for bar in done.equity:
        peak = max(peak, bar.equity)
        fallen.append(float((bar.equity - peak) / peak * 100) if peak else 0.0)
    return fallen


def _page(done: Backtest, metrics: Mapping[str, Any], title: str, picture: bytes) -> str:
    shown = done.trades[-SHOWN_TRADES:]
    left_out = len(done.trades) - len(shown)
    note = f"<p>The first {left_out} trades are left out here.</p>" if left_out else ""
    encoded = base64.b64encode(picture).decode("ascii")
    names = f"{done.config.entry.name} / {done.config.exit.name}"
    facts = [
        ("start balance", f"{number(done.start_balance)} {done.market.quote}"),
        ("final balance", f"{number(done.final_balance)} {done.market.quote}"),
        ("entries filled", str(done.entries_filled)),
        ("entries denied", counted(done.denials)),
        ("entries unfilled", counted(done.entries_unfilled)),
        ("strategy errors", counted_failures(done)),
        *metric_lines(metrics),
    ]
    rows = "".join(f"<tr><td>{escape(name)}</td><td class=r>{escape(text)}</td></tr>" for name, text in facts)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)} backtest</title><style>{_CSS}</style></head><body>
<h1>{escape(title)}</h1>
<p>{escape(names)}, {done.equity[0].at:%Y-%m-%d %H:%M} to {done.equity[-1].at:%Y-%m-%d %H:%M} UTC</p>
<img alt="Price with entries and exits, equity and drawdown" src="data:image/png;base64,{encoded}">
{_failures(done)}<h2>Metrics</h2><table>{rows}</table>
<h2>Trades</h2>{note}<div class=scroll><table><tr><th>Entry</th><th>Exit</th><th>Direction</th><th class=r>Size</th>
<th class=r>In</th><th class=r>Out</th><th class=r>Net</th><th class=r>%</th><th>By</th></tr>
{"".join(_row(trade) for trade in shown)}</table></div></body></html>
"""


def _failures(done: Backtest) -> str:
    if not done.failures:
        return ""
    rows = "".join(
        f"<tr><td>{escape(one.where)}</td><td class=r>{one.count}</td><td>{one.first_at:%Y-%m-%d %H:%M}</td>"
        f"<td>{one.last_at:%Y-%m-%d %H:%M}</td><td>{escape(f'{one.type}: {one.message}')}</td></tr>\n"
        for one in done.failures
    )
    ended = "<p>A bot would have given up there, so the result ends there too.</p>" if done.gave_up else ""
    return f"""<h2 class=loss>The strategy failed</h2>{ended}
<div class=scroll><table><tr><th>In</th><th class=r>Times</th><th>First</th><th>Last</th><th>Error</th></tr>
{rows}</table></div>
"""


def _row(trade: Mapping[str, Any]) -> str:
    kind = "gain" if trade["net_pnl"] > 0 else "loss"
    cells = [
        f"<td>{trade['entry_time']:%Y-%m-%d %H:%M}</td><td>{trade['exit_time']:%Y-%m-%d %H:%M}</td>",
        f"<td>{escape(trade['direction'])}</td>",
        *(f"<td class=r>{number(trade[name])}</td>" for name in ("size", "entry_price", "exit_price")),
        f'<td class="r {kind}">{number(trade["net_pnl"], signed=True)}</td>',
        f'<td class="r {kind}">{number(trade["pnl_percentage"], digits=2, signed=True)}</td>',
        f"<td>{escape(trade['exit_reason'] or '-')}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>\n"
