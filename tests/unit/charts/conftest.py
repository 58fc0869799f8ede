"""Helm, built if need be, as a function from values to manifests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apiserver import binary

CHART = Path(__file__).resolve().parents[3] / "charts" / "botfleet"

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


@pytest.fixture(scope="session")
def helm() -> Path:
    return binary("helm")


@pytest.fixture
def helm_template(helm: Path, tmp_path: Path) -> Callable[[Manifest], subprocess.CompletedProcess[str]]:
    """Runs `helm template` with these values."""

    def run(values: Manifest) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        command = [helm, "template", "fleet", CHART, "--namespace", "trading", "--values", file]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def render(helm_template: Callable[[Manifest], subprocess.CompletedProcess[str]]) -> Render:
    """The manifests of the chart with these values."""

    def run(values: Manifest) -> list[Manifest]:
        done = helm_template(values)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return run
