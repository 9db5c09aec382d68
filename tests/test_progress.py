"""Progress in a log."""

from __future__ import annotations

import pytest

from videox2l.cli.progress import Lines


def said(times_s: list[float], total: int = 100) -> list[str]:
    """The lines for one more of `total` at each of these times."""
    lines: list[str] = []
    now = iter([0.0, *times_s])
    show = Lines("indexing", "frames", clock=lambda: next(now), say=lines.append)
    for done in range(len(times_s)):
        show(done, total, "")
    return lines


def test_a_log_gets_a_line_for_every_tenth() -> None:
    lines = said([float(second) for second in range(100)])
    assert len(lines) == 9
    assert lines[0] == "indexing: 10 of 100 frames (10%), about 90 s left"
    assert lines[-1] == "indexing: 90 of 100 frames (90%), about 10 s left"


def test_what_is_slow_says_so_every_half_minute_and_what_is_fast_is_silent() -> None:
    assert len(said([10.0 * turn for turn in range(10)], total=1000)) == 3
    assert said([0.01 * turn for turn in range(100)]) == []


def test_the_time_left_counts_from_where_an_interrupted_run_goes_on() -> None:
    lines: list[str] = []
    now = iter([0.0, 0.0, 30.0])
    show = Lines("indexing", "frames", clock=lambda: next(now), say=lines.append)
    show(800, 1000, "")
    show(900, 1000, ", 16 tokens each")
    assert lines == ["indexing: 900 of 1000 frames (90%), 16 tokens each, about 30 s left"]


@pytest.mark.parametrize("total", [None, 0])
def test_nothing_is_said_before_the_total_is_known(total: int | None) -> None:
    lines: list[str] = []
    now = iter([0.0, 40.0, 80.0])
    show = Lines("indexing", "frames", clock=lambda: next(now), say=lines.append)
    show(0, total, "")
    show(0, total, "")
    assert lines == []
