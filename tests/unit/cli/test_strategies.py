from __future__ import annotations

import json
import sys

import pytest

from cli.main import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["botfleet", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_the_list_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "strategies", "list", "--kind", "exit", "-o", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["kind"] for row in rows} == {"exit"}
    (atr,) = [row for row in rows if row["name"] == "ATRExitMixin"]
    assert set(atr) == {"name", "kind", "parameters"}
    assert (
        atr["parameters"]["atr_period"].items()
        >= {"type": "integer", "default": 14, "minimum": 2, "maximum": 500}.items()
    )


def test_one_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "strategies", "show", "atrexitmixin") == 0
    out = capsys.readouterr().out
    assert out.startswith("ATRExitMixin (exit)\n\nExit when close falls")
    assert "sl_multiplier  number   above 0, up to 20  2" in out
    section = json.loads(out.split('\n"strategy": ')[1])
    assert section["parameters"]["exit_logic"]["name"] == "ATRExitMixin"


def test_an_unknown_name_is_answered_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "strategies", "show", "ATRExitMixn") == 1
    assert capsys.readouterr().err == "botfleet: no strategy or mixin 'ATRExitMixn'; did you mean ATRExitMixin?\n"
