"""Candle files as people have them: read right, or refused with the place and what to do; never silently wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from botrunner.feeds.files.errors import CandleFileInvalid
from tests.unit.botrunner.feeds.candle_shapes import PAGE, READ, REFUSED, SHAPES, Shape, page


@pytest.mark.parametrize("shape", READ, ids=lambda shape: shape.name)
def test_a_shape_is_read_right(shape: Shape, tmp_path: Path) -> None:
    found = shape.read(tmp_path)
    assert found.candles == list(shape.expected)
    assert found.interval_ms == shape.interval_ms
    if shape.note:
        assert any(shape.note in note for note in found.notes), found.notes
    else:
        assert found.notes == ()


@pytest.mark.parametrize("shape", REFUSED, ids=lambda shape: shape.name)
def test_a_shape_is_refused_in_words(shape: Shape, tmp_path: Path) -> None:
    with pytest.raises(CandleFileInvalid) as caught:
        shape.read(tmp_path)
    message = str(caught.value)
    assert shape.expected in message
    assert message.startswith(f"{tmp_path / shape.file}")
    assert "\n" not in message
    assert len(message) < 800


def test_the_page_says_what_the_code_does() -> None:
    assert len({shape.name for shape in SHAPES}) == len(SHAPES) >= 40
    assert PAGE.read_text() == page(), "run python -m tests.unit.botrunner.feeds.candle_shapes"
