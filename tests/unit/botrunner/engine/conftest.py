from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Collecting a test session's whole heap at each of some hundred engines would be most of the time."""
    monkeypatch.setattr("botrunner.engine.strategy_instance.return_free_memory", lambda: None)
    with structlog.testing.capture_logs():
        yield
