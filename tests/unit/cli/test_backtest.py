"""`botfleet backtest` as people type it: outputs, files, and what is said when something is wrong."""

from __future__ import annotations

import csv
import json
import random
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from botrunner.backtest import market as markets
from botrunner.exchange.errors import ExchangeAway
from botrunner.market.candle import Candle
from cli import backtest_plot
from cli.main import app, main
from fleet.errors import BotfleetError
from tests.hostile_json import json_texts
from tests.paper import write_candles

D = Decimal
START = 1_515_560_100_000


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, price, made = random.Random(3), D("0.1"), []
    for number in range(400):
        opened = price
        price = (price * (1 + D(rng.randint(-40, 40)) / 10_000)).quantize(D("0.000001"))
        high, low = max(opened, price), min(opened, price)
        made.append(Candle(START + number * 300_000, opened, high, low, price, D(5)))
    return write_candles(tmp_path_factory.mktemp("candles") / "ETH_BTC-5m.csv", made)


def document(**sections: Any) -> dict[str, Any]:
    return {
        "symbol": "ETHBTC",
        "broker": {"cash": 10},
        "strategy": {
            "type": "CustomStrategy",
            "parameters": {
                "entry_logic": {"name": "RSIOrBBEntryMixin", "params": {"rsi_period": 5, "rsi_oversold": 45}},
                "exit_logic": {"name": "TimeBasedExitMixin", "params": {"max_bars": 5}},
            },
        },
        "data": {"interval": "5m", "lookback_bars": 60, **sections.pop("data", {})},
        **sections,
    }


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "bot.json"
    path.write_text(json.dumps({"name": "x", "config": document()}))
    return path


def run(*arguments: object, market: str = "none") -> Result:
    return CliRunner().invoke(app, ["backtest", *map(str, arguments), "--market", market])


def failure(*arguments: object, market: str = "none") -> str:
    result = run(*arguments, market=market)
    assert isinstance(result.exception, BotfleetError), result.output
    return str(result.exception)


def found(*arguments: object) -> Any:
    result = run(*arguments, "-o", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_json_has_the_shape_that_others_parse(given: Path, candles: Path) -> None:
    made = found("--config", given, "--candles", candles)
    assert {"trades", "orders", "metrics", "final_balance"} <= set(made)
    assert len(made["trades"]) > 10
    first = made["trades"][0]
    assert {"signal_at", "entry_time", "exit_time", "direction", "size", "entry_price", "exit_price"} <= set(first)
    assert {"commission", "net_pnl", "exit_reason"} <= set(first)
    assert made["metrics"]["total_trades"] == len(made["trades"])
    # money is text without exponents, and adds up
    closed = sum(D(trade["net_pnl"]) for trade in made["trades"])
    held = made["open_trade"]
    if held is None:
        assert D(made["final_balance"]) == D(made["start_balance"]) + closed
    numbers = [trade[name] for trade in made["trades"] for name in ("size", "entry_price", "net_pnl", "commission")]
    assert all(re.fullmatch(r"-?\d+(\.\d+)?", text) for text in numbers)


def test_a_window_is_warmed_up_by_the_candles_before_it(given: Path, candles: Path) -> None:
    whole = found("--config", given, "--candles", candles)
    begin, end = "2018-01-10T20:00", "2018-01-11T06:00"
    part = found("--config", given, "--candles", candles, "--from", begin, "--to", end)
    assert part["trades"]
    assert all(f"{begin}:00" <= trade["signal_at"] < f"{end}:00" for trade in part["trades"])
    assert len(part["trades"]) < len(whole["trades"])
    assert part["trades"][0]["signal_at"] < f"{begin[:10]}T20:30", "the indicators are warm from the first bar on"
    other = found("--config", given, "--candles", candles, "--bot-id", 7)
    assert {o["client_order_id"] for o in other["orders"]}.isdisjoint(o["client_order_id"] for o in whole["orders"])


def test_files_hold_what_was_printed(given: Path, candles: Path, tmp_path: Path) -> None:
    trades, orders, equity = tmp_path / "t.csv", tmp_path / "o.json", tmp_path / "e.csv"
    made = found(
        *("--config", given, "--candles", candles),
        *("--trades", trades, "--orders", orders, "--equity", equity),
    )
    rows = list(csv.DictReader(trades.open()))
    assert [row["net_pnl"] for row in rows] == [trade["net_pnl"] for trade in made["trades"]]
    assert json.loads(orders.read_text()) == made["orders"]
    curve = list(csv.DictReader(equity.open()))
    assert len(curve) == 400
    assert curve[-1]["equity"] == made["final_balance"]


def test_the_table_is_for_people(given: Path, candles: Path) -> None:
    result = run("--config", given, "--candles", candles, "--limit", 3)
    assert result.exit_code == 0, result.output
    assert "final balance" in result.stdout
    assert "max drawdown" in result.stdout
    assert len(re.findall(r"^2018-01-1\d ", result.stdout, re.M)) == 3


def test_several_files_are_compared_each_as_its_own_symbol(given: Path, candles: Path, tmp_path: Path) -> None:
    other = tmp_path / "LTC_BTC-5m.csv"
    other.write_text(candles.read_text())
    both = found("--config", given, "--candles", candles, "--candles", other)
    assert [one["market"]["symbol"] for one in both] == ["ETHBTC", "LTCBTC"]
    assert both[0]["final_balance"] == both[1]["final_balance"]
    assert "LTC_BTC-5m" in run("--config", given, "--candles", candles, "--candles", other).stdout
    refused = run("--config", given, "--candles", candles, "--candles", other, "--trades", tmp_path / "t.csv")
    assert refused.exit_code == 2


@pytest.mark.parametrize("suffix", ["png", "html"])
def test_plots(suffix: str, given: Path, candles: Path, tmp_path: Path) -> None:
    path = tmp_path / f"plot.{suffix}"
    assert run("--config", given, "--candles", candles, "--plot", path).exit_code == 0
    if suffix == "png":
        assert path.read_bytes().startswith(b"\x89PNG\r\n")
        return
    page = path.read_text()
    assert "data:image/png;base64," in page
    # self-contained
    assert not re.search(r"(src|href)=\"?https?:", page)
    assert page.count("<tr>") > 20


@pytest.mark.parametrize("suffix", ["png", "html"])
def test_a_name_in_a_plot_is_no_formula_and_no_markup(
    suffix: str, given: Path, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, path, title = backtest_plot.draw, tmp_path / f"plot.{suffix}", "$\\frac{ [/x] <script>\x1b[2J\u202e$"
    monkeypatch.setattr(backtest_plot, "draw", lambda *args, **more: draw(*args, **{**more, "title": title}))
    assert run("--config", given, "--candles", candles, "--plot", path).exit_code == 0
    if suffix == "html":
        assert "<h1>$\\frac{ [/x] &lt;script&gt;\ufffd$</h1>" in path.read_text()


def test_names_are_escaped_in_html(tmp_path: Path, candles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {
        "entry_time": START,
        "exit_time": START,
        "direction": "<b>",
        "size": D(1),
        "entry_price": D(1),
        "exit_price": D(1),
        "net_pnl": D(1),
        "pnl_percentage": D(1),
        "exit_reason": "<script>alert(1)</script>",
    }
    written = backtest_plot._row({**row, "entry_time": _Moment(), "exit_time": _Moment()})
    assert "<script>" not in written
    assert "&lt;script&gt;" in written


class _Moment:
    def __format__(self, _: str) -> str:
        return "then"


def test_a_plot_without_matplotlib_is_refused_before_the_work(
    given: Path, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest_plot, "find_spec", lambda _: None)
    message = failure("--config", given, "--candles", candles, "--plot", tmp_path / "p.png")
    assert "pip install 'botfleet[backtest]'" in message


def test_every_error_of_a_config_is_named(candles: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document(symbol="ethbtc", tradnig={})))
    message = failure("--config", path, "--candles", candles)
    assert "symbol:" in message
    assert "tradnig" in message


def test_errors_of_candles_name_file_and_line(given: Path, candles: Path, tmp_path: Path) -> None:
    broken = tmp_path / "ETH_BTC-5m.csv"
    lines = candles.read_text().splitlines()
    lines[7] = "1515562000000,what,is,this"
    broken.write_text("\n".join(lines))
    assert f"{broken}:8: 4 columns instead of 6" in failure("--config", given, "--candles", broken)
    assert failure("--config", given, "--candles", tmp_path / "none.csv").startswith(
        f"{tmp_path}/none.csv can't be read"
    )
    wrong = tmp_path / "ETH_BTC-1h.csv"
    wrong.write_text(candles.read_text())
    assert "has candles of 1h, data.interval is 5m" in failure("--config", given, "--candles", wrong)
    odd = tmp_path / "odd.csv"
    odd.write_text(candles.read_text().replace("1515560400000", "1515560340000"))
    assert "doesn't open at a whole number of data.interval" in failure("--config", given, "--candles", odd)
    other = tmp_path / "LTC_BTC-5m.csv"
    other.write_text(candles.read_text())
    assert "has candles of LTCBTC, but the config's symbol is ETHBTC" in run("-c", given, "--candles", other).stderr


@pytest.mark.parametrize(
    ("content", "line"),
    [("when,open,high,low,close,volume\n1,1,1,1,1,1\n", 1), (None, None), ("[[1515560400000, 1, 1, 1, 1]]", None)],
)
def test_the_document_of_an_error_of_candles_has_file_and_line(
    content: str | None,
    line: int | None,
    given: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "candles"
    if content is not None:
        file.write_text(content)
    words = ("backtest", "-c", given, "--candles", file, "--market", "none", "-o", "json")
    monkeypatch.setattr(sys, "argv", ["botfleet", *map(str, words)])
    with pytest.raises(SystemExit):
        main()
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["message"].startswith(str(file))
    assert {key: error[key] for key in ("kind", "file", "line", "column", "exit_code")} == {
        "kind": "CandlesUnreadable",
        "file": str(file),
        "line": line,
        "column": None,
        "exit_code": 1,
    }


def rows_of(candles: Path) -> list[list[str]]:
    return [line.split(",") for line in candles.read_text().splitlines()]


def written(path: Path, rows: list[list[str]]) -> Path:
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    return path


def test_columns_are_taken_by_their_names(given: Path, candles: Path, tmp_path: Path) -> None:
    order = (0, 4, 2, 3, 1, 5)
    moved = written(tmp_path / "ETH_BTC-5m.csv", [[row[place] for place in order] for row in rows_of(candles)])
    assert moved.read_text().startswith("timestamp,close,high,low,open,volume\n")
    whole = found("--config", given, "--candles", candles)
    assert found("--config", given, "--candles", moved)["trades"] == whole["trades"]
    # names of one's own by the config's keys
    own = written(tmp_path / "own.csv", [["when", "a", "b", "c", "d", "e"], *rows_of(candles)[1:]])
    keys = dict(
        zip(
            ("datetime_col", "open_col", "high_col", "low_col", "close_col", "volume_col"), rows_of(own)[0], strict=True
        )
    )
    given.write_text(json.dumps(document(data=keys)))
    assert found("--config", given, "--candles", own)["trades"] == whole["trades"]
    assert "data.datetime_col: there is no column 'when'" in failure("--config", given, "--candles", candles)


def test_another_interval_is_refused_whatever_the_name_says(given: Path, candles: Path, tmp_path: Path) -> None:
    hours = [[str(START + (int(row[0]) - START) * 12), *row[1:]] for row in rows_of(candles)[1:]]
    path = written(tmp_path / "ETH_BTC-5m.csv", [rows_of(candles)[0], *hours])
    assert "the file has candles of 1h" in failure("--config", given, "--candles", path)


def test_gaps_and_jumps_are_told_with_their_places(given: Path, candles: Path, tmp_path: Path) -> None:
    rows = rows_of(candles)
    later = [
        [str(int(row[0]) + 500 * 300_000), *(str(D(price) * 10) for price in row[1:5]), row[5]] for row in rows[201:]
    ]
    path = written(tmp_path / "ETH_BTC-5m.csv", [*rows[:100], *rows[101:201], *later])
    data = found("--config", given, "--candles", path)["data"]
    assert (data["missing"], data["gaps"]["count"], data["gaps"]["longest"]["missing"]) == (501, 2, 500)
    assert [gap["missing"] for gap in data["gaps"]["first"]] == [1, 500]
    assert data["gaps"]["longest"]["before"] == data["jumps"]["first"][0]["at"] == data["jumps"]["largest"]["at"]
    assert (data["jumps"]["count"], data["jumps"]["largest"]["missing_before"]) == (1, 500)
    assert D("9.9") < D(data["jumps"]["largest"]["factor"]) < D("10.1")
    assert data["interval_from"] == "data.interval (5m); 396 of 398 candles follow one another at that distance"
    table = " ".join(run("--config", given, "--candles", path).stdout.split())
    assert "missing candles 501 in 2 gaps, 500 before 2018-01-12 15:15; before 2018-01-10 13:15 (1)," in table
    assert "price jumps 1, largest ×10 at 2018-01-12 15:15; at 2018-01-12 15:15 (×10)" in table
    # what --to leaves out isn't told
    assert found("--config", given, "--candles", path, "--to", "2018-01-10T20:00")["data"]["missing"] == 1
    assert "price jumps -" in " ".join(run("--config", given, "--candles", candles).stdout.split())


def test_small_prices_keep_their_digits(given: Path, candles: Path, tmp_path: Path) -> None:
    rows = [
        [row[0], *(f"{D(price) * D('1.2345E-7'):.13f}" for price in row[1:5]), row[5]] for row in rows_of(candles)[1:]
    ]
    path = written(tmp_path / "SHIB_BTC-5m.csv", [rows_of(candles)[0], *rows])
    given.write_text(json.dumps(document(symbol="SHIBBTC")))
    made, same = found("--config", given, "--candles", path), found("--config", given, "--candles", candles)
    assert made["market"]["tick"] == made["data"]["tick"] == "0.0000000000001"
    # the same walk at another scale: the same result, but for roundings
    assert abs(D(made["final_balance"]) / D(same["final_balance"]) - 1) < D("0.0001")
    shown = run("--config", given, "--candles", path).stdout
    assert re.search(r"long +[\d.]+ +0\.00000001\d+ +0\.00000001\d+ ", shown), shown


def test_noise_of_floats_costs_nothing(given: Path, candles: Path, tmp_path: Path) -> None:
    noisy = [
        [row[0], *(repr(float(price) * (1 + 2.3e-16)) for price in row[1:5]), row[5]] for row in rows_of(candles)[1:]
    ]
    path = written(tmp_path / "ETH_BTC-5m.csv", [rows_of(candles)[0], *noisy])
    assert any(len(row[1]) > 16 for row in noisy)
    assert (
        found("--config", given, "--candles", path)["trades"]
        == found("--config", given, "--candles", candles)["trades"]
    )
    assert "had a float's noise" in run("--config", given, "--candles", path).stderr


@pytest.mark.parametrize(("interval", "days", "first"), [("1w", 7, 1_515_369_600_000), ("3d", 3, 1_515_628_800_000)])
def test_weeks_and_three_days_are_traded(
    interval: str, days: int, first: int, given: Path, candles: Path, tmp_path: Path
) -> None:
    spread = [[str(first + number * days * 86_400_000), *row[1:]] for number, row in enumerate(rows_of(candles)[1:301])]
    path = written(tmp_path / f"ETH_BTC-{interval}.csv", [rows_of(candles)[0], *spread])
    given.write_text(json.dumps(document(data={"interval": interval})))
    made = found("--config", given, "--candles", path)
    assert made["data"]["interval"] == interval
    assert len(made["trades"]) > 5


def test_market_rules_of_candles_from_a_file_are_the_files(given: Path, candles: Path) -> None:
    given.write_text(json.dumps(document(data={"data_source": "file", "file_path": str(candles)})))
    made = json.loads(run("--config", given, "--candles", candles, "-o", "json", market="auto").stdout)
    assert made["market"]["tick"] == "0.000001", "the file's prices have six decimals"
    assert made["market"]["step"] == "0.00000001"
    assert "its own decimals" in made["market"]["origin"]
    plain = found("--config", given, "--candles", candles)
    assert plain["market"]["tick"] == "0.00000001", "without rules there are eight decimals"


def test_too_few_candles_say_which_kind_of_few(candles: Path, tmp_path: Path) -> None:
    slow = document()
    slow["strategy"]["parameters"]["entry_logic"] = {"name": "RSIIchimokuEntryMixin"}
    path, few = tmp_path / "slow.json", tmp_path / "few.csv"
    path.write_text(json.dumps({**slow, "data": {"interval": "5m", "lookback_bars": 100}}))
    few.write_text("\n".join(candles.read_text().splitlines()[:60]))
    assert "59 candles are too few for the indicators of RSIIchimokuEntryMixin" in failure("-c", path, "--candles", few)
    assert "there is no candle from" in failure("-c", path, "--candles", candles, "--from", "2019-01-01")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "soon"),
        ("--plot", "p.gif"),
        ("--trades", "t.xlsx"),
        ("--trades", "nowhere/t.csv"),
        ("--bot-id", "-1"),
    ],
)
def test_misuse_is_exit_code_2(arguments: tuple[str, str], given: Path, candles: Path) -> None:
    assert run("--config", given, "--candles", candles, *arguments).exit_code == 2


def test_market_rules_of_a_file_are_obeyed(given: Path, candles: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('{"tick": "0.000001", "step": 0.01, "min_notional": "0.0001"}')
    result = run("-c", given, "--candles", candles, "-o", "json", market=str(rules))
    made = json.loads(result.stdout)
    assert all(D(trade["size"]) % D("0.01") == 0 for trade in made["trades"])
    # what was printed can be given again
    rules.write_text(json.dumps(made["market"]))
    again = json.loads(run("-c", given, "--candles", candles, "-o", "json", market=str(rules)).stdout)
    assert again["trades"] == made["trades"]
    for text, said in (
        ('{"tick": 1, "step": 1, "can_short": "no"}', "can_short must be true or false"),
        ("{", f"{rules}:1:2: ends too early"),
        ('{"tick": 1, "step": 1, "tick": 2}', f"{rules}:1:24: tick is there twice, first in line 1"),
        ('{"tick": [0, [1], 0], "step": 1}', "tick must be a number"),
        ('{"tick": 1e30, "step": 1}', "tick must be a number"),
        ('{"tick": 1}', "an object with tick and step is expected"),
        ('{"tick": 0, "step": 1}', "must be above 0"),
        ('{"tick": "x", "step": 1}', "tick must be a number"),
        ('{"tick": true, "step": 1}', "tick must be a number"),
        ('{"tick": 1, "step": 1, "symbol": "BTCUSDT"}', "the rules are of BTCUSDT"),
    ):
        rules.write_text(text)
        assert said in failure("-c", given, "--candles", candles, market=str(rules))


def test_a_run_that_never_trades_tells_why(candles: Path, tmp_path: Path) -> None:
    def entries(**sections: Any) -> Any:
        path = tmp_path / "bot.json"
        path.write_text(json.dumps(document(**sections)))
        made = found("--config", path, "--candles", candles)
        assert made["trades"] == []
        assert made["errors"] == []
        table = run("--config", path, "--candles", candles)
        for reasons in (made["entries"]["denied"], made["entries"]["unfilled"]):
            for reason, count in reasons.items():
                assert f"{reason} {count}" in table.stdout
        return made["entries"]

    denied = entries(risk_management={"max_daily_trades": 0})
    assert denied["filled"] == 0
    assert denied["unfilled"] == {}
    assert denied["denied"]["max_daily_trades"] > 10
    far = entries(trading={"order_type": "limit", "limit_offset_pct": 90, "limit_ttl_bars": 2})
    assert far["unfilled"]["expired_limit"] > 10
    assert far["denied"] == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@hypothesis.given(
    st.one_of(json_texts, st.text('{}[]:,"ab1e-. \n#&*')).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=40)
    | st.dictionaries(
        st.sampled_from(["tick", "step", "can_short", "symbol"]), st.text() | st.floats() | st.none()
    ).map(lambda rules: json.dumps(rules).encode()),
    st.sampled_from(["a.json", "a.yaml", "a"]),
)
def test_any_bytes_at_any_door_give_one_document(
    given: Path,
    candles: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raw: bytes,
    name: str,
) -> None:
    file = tmp_path / name
    file.write_bytes(raw)
    for words in (
        ("config", "validate", file),
        ("backtest", "-c", file, "--candles", candles, "--market", "none"),
        ("backtest", "-c", given, "--candles", candles, "--market", file, "--to", "2018-01-10T06:00"),
        ("backtest", "-c", given, "--candles", file, "--market", "none"),
    ):
        monkeypatch.setattr(sys, "argv", ["botfleet", *map(str, words), "-o", "json"])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        found = json.loads(said.out)
        assert end.value.code in (0, 1)
        assert "Traceback" not in said.err
        if end.value.code:
            assert found.get("valid") is False or found["error"]["exit_code"] == 1
        elif words[0] == "backtest":
            assert {"errors", "entries", "gave_up"} <= found.keys()


def test_without_an_exchange_auto_goes_on_and_says_so(
    given: Path, candles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        name = "binance"

        def market(self, symbol: str) -> Any:
            raise ExchangeAway("scripted")

    monkeypatch.setattr(markets.BrokerManager, "get", lambda self, name: Away())
    result = run("-c", given, "--candles", candles, market="auto")
    assert result.exit_code == 0
    assert "binance can't be asked for the rules of ETHBTC" in result.stderr
    assert "doesn't tell the rules of ETHBTC: scripted" in failure("-c", given, "--candles", candles, market="exchange")
