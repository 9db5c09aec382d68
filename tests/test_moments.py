"""Moments: which stretch of a video stands out for a question, how sure that is, and finding them without an MLLM."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from videos import write_video

from videox2l import VideoX2L
from videox2l.answering.moments import ScoredFrames, answer_moments
from videox2l.errors import QuestionError, SettingsError
from videox2l.find import find_moments
from videox2l.store import DiskStore, RamStore
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings
from videox2l.synthesis.writer import VideoFormat
from videox2l.tracks.dual_encoder import DualEncoder
from videox2l.types import ChunkReport, Frames, FrameScores, Moment, VideoTokens
from videox2l.video import Sampling


def noisy(length: int, peaks: dict[int, float], seed: int = 0, step_s: float = 1.0) -> FrameScores:
    """Normal scores of deviation .1, but for some frames."""
    scores = 0.1 * torch.randn(length, generator=torch.Generator().manual_seed(seed))
    for frame, score in peaks.items():
        scores[frame] = score
    return FrameScores(torch.arange(length).double() * step_s, scores)


def chunk(first: int, frames: int = 10) -> ChunkReport:
    return ChunkReport(first // frames, first, first + frames, 0.0, 2, 2.0, True)


def test_a_moment_reaches_as_far_as_frames_stand_out_nearly_as_far() -> None:
    frames = noisy(100, {40: 0.8, 41: 1.0, 42: 0.9, 43: 0.5, 70: 0.95})
    first, second = ScoredFrames(frames, 100.0).found(2)
    assert (first.start_s, first.peak_s, first.end_s) == (40, 41, 43)
    assert (second.start_s, second.peak_s, second.end_s) == (70, 70, 71)
    assert (first.score, second.score) == pytest.approx((1.0, 0.95))
    assert first.confidence == pytest.approx(1.0, abs=1e-3)


def test_the_last_frame_lasts_until_the_end() -> None:
    frames = noisy(50, {49: 1.0}, step_s=0.5)
    (moment,) = ScoredFrames(frames, 24.9).found(1)
    assert (moment.start_s, moment.end_s) == (24.5, 24.9)


@pytest.mark.parametrize("length", [10, 100, 3600])
def test_noise_has_a_moment_no_more_often_than_one_time_in_ten(length: int) -> None:
    """About: with ten frames the spread itself is uncertain."""
    found = sum(bool(ScoredFrames(noisy(length, {}, seed), length).found(1)) for seed in range(100))
    assert found <= (35 if length == 10 else 18)


def test_equal_scores_have_no_moment() -> None:
    frames = FrameScores(torch.arange(20).double(), torch.full((20,), 0.3))
    assert ScoredFrames(frames, 20.0).found(3) == ()
    raised = frames.scores.clone()
    raised[7] = 0.4
    (moment,) = ScoredFrames(FrameScores(frames.time_s, raised), 20.0).found(3)
    assert (moment.peak_s, moment.confidence) == (7, 1.0)


def test_an_answer_has_the_moments_that_come_near_its_best() -> None:
    """Of three chunks that were read, one holds what was asked for, one a like thing, one nothing."""
    frames = noisy(100, {15: 1.0, 33: 0.5, 52: 0.98, 53: 0.9})
    chosen = [chunk(10), chunk(50), chunk(30), chunk(80)]
    moments = answer_moments(chosen, frames, 100.0)
    assert [(moment.start_s, moment.end_s) for moment in moments] == [(15, 16), (52, 54)]
    assert answer_moments([chunk(80)], frames, 100.0) == ()
    assert answer_moments([], frames, 100.0) == ()


def test_a_moment_across_two_chunks_is_one() -> None:
    moments = answer_moments([chunk(10), chunk(20)], noisy(100, {19: 0.9, 20: 1.0, 21: 0.95}), 100.0)
    assert [(moment.start_s, moment.peak_s, moment.end_s) for moment in moments] == [(19, 20, 22)]


def test_without_scores_of_frames_the_chosen_chunks_are_the_moments() -> None:
    assert answer_moments([chunk(10)], None, 100.0) == (Moment(10, 20, score=0.0),)


def test_confidence_is_the_encoders_where_it_was_calibrated() -> None:
    frames = noisy(100, {40: 1.0, 70: 0.9})
    match = torch.zeros(100)
    match[40], match[70] = 0.9, 0.1
    moments = ScoredFrames(FrameScores(frames.time_s, frames.scores, match), 100.0).found(2)
    assert [moment.confidence for moment in moments] == pytest.approx([0.9, 0.1])
    match[70] = 0.04  # stands out, but the encoder knows that it is something else
    (moment,) = ScoredFrames(FrameScores(frames.time_s, frames.scores, match), 100.0).found(2)
    assert moment.peak_s == 40


class Brightness(DualEncoder):
    """Bright frames are like "bright", dark ones like everything else."""

    fingerprint = "brightness"

    def __init__(self) -> None:
        self.embedded = 0

    def embed_frames(self, frames: Frames, tokens: VideoTokens | None = None) -> Tensor:
        self.embedded += len(frames)
        bright = frames.pixels.float().mean(dim=(1, 2, 3)) / 255
        return F.normalize(torch.stack([bright, 1 - bright], dim=1), dim=1)

    def embed_text(self, text: str) -> Tensor:
        return torch.tensor([1.0, 0.0] if text == "bright" else [0.0, 1.0])


@pytest.fixture(scope="module")
def flash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty dark seconds at 4 frames a second, the 23rd and 24th bright."""
    levels = itertools.chain([20] * 92, [235] * 8, [20] * 60)
    pictures = (torch.full((48, 64, 3), level, dtype=torch.uint8).numpy() for level in levels)
    return write_video(tmp_path_factory.mktemp("flash") / "flash.mp4", pictures, fps=4)


def test_moments_are_found_without_a_model_and_embedded_once(flash: Path, tmp_path: Path) -> None:
    encoder, store = Brightness(), DiskStore(tmp_path)
    found = find_moments(flash, "bright", encoder, store)
    assert [(moment.start_s, moment.end_s) for moment in found.moments] == [(23, 25)]
    assert (found.video_name, found.duration_s) == ("flash.mp4", 40)
    assert encoder.embedded == 40
    assert find_moments(flash, "bright", encoder, store).moments == found.moments
    assert encoder.embedded == 40
    finer = find_moments(flash, "bright", encoder, store, Sampling(fps=4, start_s=10))
    assert [(moment.start_s, moment.end_s) for moment in finer.moments] == [(23, 25)]
    assert encoder.embedded == 40 + 120


def test_an_engine_finds_in_a_video_or_its_index(engine: VideoX2L, flash: Path) -> None:
    engine.encoder = Brightness()
    (moment,) = engine.find(flash, "bright")
    assert engine.find(engine.index(flash), "bright") == (moment,)
    assert moment.peak_s == 23


def test_what_can_not_be_found_is_refused(engine: VideoX2L, flash: Path) -> None:
    with pytest.raises(SettingsError, match="needs a dual encoder"):
        engine.find(flash, "bright")
    engine.encoder = Brightness()
    with pytest.raises(QuestionError, match="nothing to look for"):
        engine.find(flash, "  ")
    with pytest.raises(SettingsError, match="k=0"):
        engine.find(flash, "bright", k=0)

    class OfTokens(Brightness):
        needs_tokens = True  # as a head on visual tokens

    with pytest.raises(SettingsError, match="pass the model"):
        find_moments(flash, "bright", OfTokens(), RamStore())


def test_nano_names_the_needles_second_and_nothing_for_the_whole_video(tmp_path: Path) -> None:
    """On a fresh video: questions about one needle have one moment, which shows it; a question about the place none."""
    nano = VideoX2L.from_pretrained("nano", device="cpu")
    settings = NeedleSettings(100 / 60, 77, VideoFormat(fps=2), questions=4, tasks=("attribute", "where", "global"))
    video = NeedlePlan(settings).video(0)
    video.write(tmp_path / "needles.mp4", settings.format)
    index = nano.index(tmp_path / "needles.mp4")
    right, asked = 0, 0
    for question in video.questions:
        moments = nano.ask(index, question.text).moments
        if question.needle_times_s:
            asked += 1
            peak_s = moments[0].peak_s if len(moments) == 1 else None
            right += peak_s is not None and 0 <= peak_s - question.needle_times_s[0] < 3
    assert asked == 8
    assert right >= 7
    (sure,) = nano.find(index, video.script.unique_events[0].name, k=1)
    assert sure.confidence is not None
    assert sure.confidence > 0.9
    assert nano.ask(index, "Where was the video filmed?").moments == ()
