"""An import upwards, or of I/O into a decision, fails the linter: all of them are put into a copy of the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

UPWARDS = {
    "Layers of the controller: observe": [
        ("controller.observe.bot_rows", "controller.manager"),  # what is observed reaches the manager as facts
        ("controller.observe.heartbeats", "controller.act.executor"),
        ("controller.decide.facts", "controller.store"),
        ("controller.manager", "controller.runner"),
        ("controller.shards", "controller.observe.bot_rows"),
    ],
    "Layers of the controller's decisions": [
        ("controller.decide.death", "controller.decide.plan"),
        ("controller.decide.reasons", "controller.decide.status_text"),
    ],
    "Layers of what the controller observes": [("controller.observe.observer", "controller.observe.heartbeats")],
    "Layers of what the controller does": [("controller.act.runtime.process", "controller.act.executor")],
    "Only the Kubernetes runtime": [("controller.observe.pods", "kubernetes")],
    "Decisions are pure": [("controller.decide.restarts", "time"), ("controller.decide.last_error", "random")],
}
"""What each contract, known by the begin of its name, must refuse."""


def test_every_import_upwards_fails_the_linter(tmp_path: Path) -> None:
    roots = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    for package in roots:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module, imported in chain.from_iterable(UPWARDS.values()):
        file = tmp_path / f"{module.replace('.', '/')}.py"
        file.write_text(file.read_text().replace("from __future__ import annotations", f"import {imported}", 1))
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [linter, "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert run.returncode == 1, run.stderr
    broken = re.sub(r"\s+", " ", run.stdout.partition("Broken contracts")[2])
    sections = dict(zip(UPWARDS, re.split("|".join(map(re.escape, UPWARDS)), broken)[1:], strict=True))
    missed = [
        (contract, f"{module} -> {imported}")
        for contract, imports in UPWARDS.items()
        for module, imported in imports
        if f"{module} -> {imported} (l." not in sections[contract]
    ]
    assert missed == []
