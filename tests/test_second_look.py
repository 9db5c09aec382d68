"""A second look: taken where the model is unsure how to begin, once, and its cost is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from videox2l import Adaptive, Even, TopK, VideoIndex, VideoX2L
from videox2l.errors import SettingsError
from videox2l.store import RamStore
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings
from videox2l.synthesis.writer import VideoFormat

COUNT = "How many red shapes appear in the video?"
"""nano did not learn to count, and is never sure."""


@pytest.fixture(scope="module")
def nano() -> VideoX2L:
    return VideoX2L.from_pretrained("nano", device="cpu", store=RamStore())


@pytest.fixture(scope="module")
def asked(nano: VideoX2L, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VideoIndex, str]]:
    """Half a minute of needles, and a question about the digit of one."""
    plan = NeedlePlan(NeedleSettings(0.5, 5, VideoFormat(fps=2), tasks=("attribute",)))
    video, file = plan.video(0), tmp_path_factory.mktemp("needles") / "needles.mp4"
    video.write(file, plan.settings.format)
    yield nano.index(file), video.questions[0].text


def test_an_answer_that_the_model_is_sure_of_is_given_at_once(nano: VideoX2L, asked: tuple[VideoIndex, str]) -> None:
    index, question = asked
    once = nano.ask(index, question, selector=Adaptive())
    looking = replace(nano, second_look=True).ask(index, question, selector=Adaptive())
    assert looking.first_look is None
    assert (looking.text, looking.selection.levels) == (once.text, once.selection.levels)
    assert "first_look" in looking.timings_s  # the question was read once more


def test_an_unsure_answer_is_given_anew_from_more_detail(nano: VideoX2L, asked: tuple[VideoIndex, str]) -> None:
    index, _ = asked
    selector = TopK(1, fine_edges=False)
    once = nano.ask(index, COUNT, selector=selector)
    looking = replace(nano, second_look=True).ask(index, COUNT, selector=selector)
    assert looking.first_look is not None
    assert looking.first_look.cache_tokens == once.cache_tokens < looking.cache_tokens
    assert 0 <= looking.first_look.margin < 0.5
    assert 0 < looking.first_look.seconds < sum(looking.timings_s.values())
    assert looking.selection.levels == selector.widened(once.selection, index).levels  # type: ignore[union-attr]
    assert looking.text == nano.ask(index, COUNT, selector=TopK(3, fine_edges=False)).text


def test_where_nothing_is_left_to_read_the_answer_says_so(nano: VideoX2L, asked: tuple[VideoIndex, str]) -> None:
    answer = replace(nano, second_look=True).ask(asked[0], COUNT, selector=TopK(99))
    assert answer.first_look is None
    assert any("unsure how to begin, and there is no more detail" in note for note in answer.notes)


def test_a_second_look_needs_scores(nano: VideoX2L) -> None:
    with pytest.raises(SettingsError, match="a second look needs scores, and the selector even reads none"):
        replace(nano, second_look=True, selector=Even())
