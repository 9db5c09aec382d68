"""An answer is drawn and printed with what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image
from videos import frame_numbers, write_video

from videox2l import Answer, Generation, Manual, OneLevel, Sampling, TopK, VideoIndex, VideoX2L, __version__
from videox2l.answering.timeline import BETWEEN, COARSE, FINE, MOMENT, PICTURES, draw_timeline
from videox2l.errors import SettingsError, StoreError
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.selection.base import Selector
from videox2l.tracks.thumbnails import ThumbnailStrip, thumbnail
from videox2l.types import ChunkReport, Moment


class Third(Oracle):
    """Finds the third chunk relevant and no other."""

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> torch.Tensor:
        return (torch.arange(len(index.entries)) == 2).float()


@pytest.fixture
def answer(engine: VideoX2L, clip: Path) -> Answer:
    settings = {"oracle": Third(), "selector": TopK(1), "generation": Generation(max_new_tokens=6)}
    return engine.ask(engine.index(clip), "Who rides?", **settings)


def bars_and_moments(axes: Axes) -> tuple[list[Rectangle], list[Rectangle]]:
    """The bars of the chunks, and what marks the moments; nothing else is drawn as a patch."""
    patches = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(patches) == len(axes.patches)
    moments = [patch for patch in patches if to_hex(patch.get_facecolor()) == MOMENT]
    return [patch for patch in patches if patch not in moments], moments


def near(picture: np.ndarray, color: str) -> int:
    """How many pixels have about this color."""
    wanted = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
    return int((np.abs(picture.astype(int) - wanted).max(axis=2) < 8).sum())


def test_a_plot_shows_bars_and_thumbnails(answer: Answer, tmp_path: Path) -> None:
    answer.plot(tmp_path / "answer.png")
    picture = np.array(Image.open(tmp_path / "answer.png").convert("RGB"))
    height, width, _ = picture.shape
    assert width > 1000
    assert near(picture, FINE) > 0.01 * height * width  # bars of the chunks read in detail
    strip = picture[: height // 2].reshape(-1, 3)
    assert len(np.unique(strip // 16, axis=0)) > 20  # thumbnails have colors of their own
    assert near(picture, "#ffffff") < 0.9 * height * width


def test_bars_and_labels_say_what_the_answer_says(answer: Answer) -> None:
    figure = answer.plot()
    strip, relevance = figure.axes
    bars, (red,) = bars_and_moments(relevance)
    assert (red.get_x(), red.get_x() + red.get_width()) == (answer.chunks[2].start_s, answer.chunks[2].end_s)
    drawn = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars)
    assert [start for start, _ in drawn] == [chunk.start_s for chunk in answer.chunks]
    assert all(end <= chunk.end_s for (_, end), chunk in zip(drawn, answer.chunks, strict=True))
    heights = {round(bar.get_x(), 6): bar.get_height() for bar in bars}
    named = heights.pop(answer.chunks[2].start_s)
    assert named > max(heights.values())
    legend = relevance.get_legend()
    assert legend is not None
    labels = [label.get_text() for label in legend.get_texts()]
    assert labels == ["2x", "2x, always", "32x"]  # the first and last chunk are no evidence
    assert f"{answer.cache_tokens} of {answer.full_cache_tokens}" in relevance.get_title(loc="left")
    assert "Who rides?" in strip.get_title(loc="left")


def test_pictures_are_of_the_moments_and_of_frames_between_them(engine: VideoX2L, tmp_path: Path) -> None:
    """A moment is shown by its best frame; the first and last chunk are not framed as evidence."""
    index = engine.index(write_video(tmp_path / "numbered.mp4", 60, fps=2), Sampling(fps=2))
    moments = (Moment(7.0, 8.5, peak_s=7.5, score=1.0, confidence=1.0), Moment(20.0, 20.5, peak_s=20.0))
    chunks = [ChunkReport(n, n, n + 1, 0.0, 32, 32.0, False) for n in range(30)]
    strip = draw_timeline("", "", chunks, moments, None, index.thumbnails).axes[0]
    shown = [axes for axes in strip.child_axes if isinstance(axes, Axes)]
    framed = [axes.get_title() for axes in shown if to_hex(axes.spines["top"].get_edgecolor()) == MOMENT]
    assert framed == ["0:07", "0:20"]
    pictures = {axes.get_title(): np.asarray(axes.images[0].get_array()) for axes in shown}
    assert len(pictures) == PICTURES
    picture, time_s = index.thumbnails.nearest(7.6)
    assert time_s == 7.5
    assert np.array_equal(pictures["0:07"], picture)
    assert frame_numbers(torch.tensor(pictures["0:07"]).permute(2, 0, 1)[None]) == [15]
    assert list(pictures) == sorted(pictures)


@pytest.mark.parametrize("selector", [Manual((2,)), OneLevel()], ids=str)
def test_an_answer_without_scores_is_drawn_with_bars_of_one_height(
    engine: VideoX2L, made_clip: Path, tmp_path: Path, selector: Selector
) -> None:
    answer = engine.ask(engine.index(made_clip), "Who?", selector=selector, generation=Generation(max_new_tokens=2))
    assert [chunk.score for chunk in answer.chunks] == [None] * 6
    assert json.loads(json.dumps(answer.to_json(), allow_nan=False))["chunks"][0]["score"] is None
    figure = answer.plot(tmp_path / "answer.png")
    relevance = figure.axes[1]
    bars, _ = bars_and_moments(relevance)
    assert len({round(bar.get_height(), 9) for bar in bars}) == 1
    assert bars[0].get_height() > 0
    assert relevance.get_ylabel() == ""
    assert len(relevance.get_yticks()) == 0
    assert (tmp_path / "answer.png").stat().st_size > 10_000


def test_every_level_has_a_color_of_its_own() -> None:
    def colors(*levels: int) -> list[str]:
        chunks = [ChunkReport(n, n, n + 1, None, level, level, level == 2) for n, level in enumerate(levels)]
        picture = torch.frombuffer(bytearray(thumbnail(np.zeros((4, 4, 3), dtype=np.uint8))), dtype=torch.uint8)
        strip = ThumbnailStrip(picture, torch.tensor([len(picture)]), torch.zeros(1))
        bars, _ = bars_and_moments(draw_timeline("", "", chunks, (), None, strip).axes[1])
        drawn = sorted((bar.get_x(), to_hex(bar.get_facecolor())) for bar in bars)
        return [color for _, color in drawn]

    assert colors(32, 2, 8, 2) == [COARSE, FINE, BETWEEN, FINE]
    assert colors(32, 2) == [COARSE, FINE]
    assert colors(2, 2) == [FINE, FINE]


def test_a_question_with_dollars_and_newlines_is_drawn_as_it_is(
    engine: VideoX2L, made_clip: Path, tmp_path: Path
) -> None:
    index = engine.index(made_clip)
    for question in ("Costs it $5 or $6_a^?", "two\nlines?", "東京?"):
        engine.ask(index, question, generation=Generation(max_new_tokens=2)).plot(tmp_path / "answer.png")
        assert (tmp_path / "answer.png").stat().st_size > 10_000


@pytest.mark.parametrize("ending", ["pdf", "svg"])
def test_other_formats_go_by_the_name(answer: Answer, tmp_path: Path, ending: str) -> None:
    answer.plot(tmp_path / f"answer.{ending}")
    start = (tmp_path / f"answer.{ending}").read_bytes()[:100]
    assert start.startswith(b"%PDF" if ending == "pdf" else b"<?xml")


def test_a_picture_that_can_not_be_saved_is_an_error(answer: Answer, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"answer\.movie"):
        answer.plot(tmp_path / "answer.movie")
    with pytest.raises(StoreError, match=r"nowhere"):
        answer.plot(tmp_path / "nowhere" / "answer.png")


def test_json_says_what_the_answer_says(answer: Answer) -> None:
    printed = json.loads(json.dumps(answer.to_json(), allow_nan=False))
    promised = {"answer", "chunks", "cache_tokens", "full_cache_tokens", "timings_s", "model", "index_reused"}
    assert promised <= printed.keys()
    assert printed["answer"] == answer.text
    assert [set(chunk) for chunk in printed["chunks"]] == [
        {"index", "start_s", "end_s", "score", "level", "ratio", "is_chosen", "frames_s"}
    ] * len(answer.chunks)
    third = answer.chunks[2]
    assert printed["moments"] == [
        {
            "start_s": third.start_s,
            "end_s": third.end_s,
            "peak_s": None,
            "score": 1.0,
            "confidence": None,
            "subtitle": None,
        }
    ]
    assert printed["question"] == "Who rides?"
    assert printed["video"] == answer.index.video_name
    assert printed["sampling"]["frames"] == answer.index.chunks[-1].end_frame
    assert printed["sampling"]["fps"] == 1
    assert printed["oracle"] == "test_timeline:Third"
    assert printed["selector"] == {"name": "top_k", "fine_edges": True, "k": 1, "leaves_out": False}
    assert printed["version"] == __version__
    assert printed["cache_tokens"] < printed["full_cache_tokens"]
    assert {"relevance", "load", "first_token"} <= printed["timings_s"].keys()
    assert printed["index_reused"] is False
