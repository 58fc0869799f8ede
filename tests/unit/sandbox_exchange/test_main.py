from __future__ import annotations

from pathlib import Path

import pytest

from sandbox_exchange.csv_source import CandleFileError
from sandbox_exchange.main import EXIT_USAGE, load_market, main, parse_options
from sandbox_exchange.market import AtEnd
from tests.unit.sandbox_exchange.worlds import write_csv


def test_the_command_line_has_sensible_defaults() -> None:
    options = parse_options(["--candles", "synthetic:7"])

    assert (options.candles, options.speed, options.port, options.history) == (("synthetic:7",), 1.0, 8080, 1500)
    assert (options.at_end, options.weight_limit, options.log_format) == (AtEnd.LOOP, 6000, "json")


@pytest.mark.parametrize(
    "arguments",
    [[], ["--candles", "synthetic:7", "--at-end", "rewind"], ["--candles", "synthetic:7", "--history", "-1"]],
)
def test_a_wrong_command_line_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(arguments)
    assert caught.value.code == EXIT_USAGE


def test_directories_and_a_seed_add_up(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, name in zip(folders, ("ETH_BTC-5m.csv", "LTC_BTC-5m.csv"), strict=True):
        folder.mkdir()
        write_csv(folder / name, bars=20)
    sources = [argument for folder in folders for argument in ("--candles", str(folder))]

    assert set(load_market(parse_options(sources)).listings) == {"ETHBTC", "LTCBTC"}
    with_seed = load_market(parse_options([*sources, "--candles", "synthetic:7"]))
    assert set(with_seed.listings) == {"ETHBTC", "LTCBTC", "BTCUSDT", "ETHUSDT", "SOLUSDT"}


def test_a_symbol_or_a_seed_given_twice_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write_csv(folder / "ETH_BTC-5m.csv", bars=20)
    with pytest.raises(CandleFileError, match="ETHBTC is already given by"):
        load_market(parse_options(["--candles", str(tmp_path / "a"), "--candles", str(tmp_path / "b")]))
    with pytest.raises(CandleFileError, match="one synthetic market only"):
        load_market(parse_options(["--candles", "synthetic:1", "--candles", "synthetic:2"]))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--candles", "synthetic:many"], "the seed must be a whole number"),
        (["--candles", "/nowhere"], "not a directory"),
        (["--candles", "synthetic:1", "--speed", "-3"], "speed -3.0 is not between"),
    ],
)
def test_unusable_arguments_are_logged_and_exit_with_2(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == EXIT_USAGE
    assert problem in capsys.readouterr().err
