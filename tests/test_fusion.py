"""Oracles made of oracles: rankings fused, scores smoothed along time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from videox2l import VideoIndex, VideoX2L
from videox2l.errors import ModelError, SettingsError
from videox2l.models.base import MLLM
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.oracles.attention import AttentionOracle
from videox2l.oracles.base import Oracle
from videox2l.oracles.fusion import Fusion
from videox2l.oracles.maxsim import MaxSim
from videox2l.oracles.probe import Probe
from videox2l.oracles.qk import QueryKey
from videox2l.oracles.random import RandomOracle
from videox2l.oracles.registry import make_oracle
from videox2l.oracles.temporal import Temporal
from videox2l.store import RamStore


@dataclass(frozen=True)
class Fixed(Oracle):
    """Scores given beforehand."""

    scores: tuple[float, ...]

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        return torch.tensor(self.scores)


@pytest.fixture(scope="module")
def index(video_xl: VideoXL, made_clip: Path) -> VideoIndex:
    """Three chunks."""
    return VideoX2L(video_xl, chunk_frames=4, store=RamStore()).index(made_clip)


def test_fusion_adds_reciprocal_ranks_whatever_the_scales(video_xl: VideoXL, index: VideoIndex):
    fused = Fusion((Fixed((0.9, 0.1, 0.5)), Fixed((-7.0, 100.0, -7.0)))).score(video_xl, index, "").chunks
    expected = [1 / 61 + 1 / 62.5, 1 / 63 + 1 / 61, 1 / 62 + 1 / 62.5]  # equal scores share the mean rank
    torch.testing.assert_close(fused, torch.tensor(expected))


def test_smoothing_spreads_a_peak_and_keeps_a_constant(video_xl: VideoXL, index: VideoIndex):
    index = replace(index, entries=(index.entries * 3)[:7])
    peak = Temporal(Fixed((0, 0, 0, 1, 0, 0, 0)), width=1.0).score(video_xl, index, "").chunks
    assert int(peak.argmax()) == 3
    assert peak[2] > peak[1] > peak[0] > 0
    flat = Temporal(Fixed((2.0,) * 7)).score(video_xl, index, "").chunks
    torch.testing.assert_close(flat, torch.full((7,), 2.0))


def test_names_joined_by_plus_are_fused_and_smoothing_wraps_them():
    assert make_oracle("attention+qk") == Fusion((AttentionOracle(), QueryKey()))
    assert make_oracle("fusion") == Fusion((MaxSim(), Probe()))
    assert make_oracle("random+fusion", seed=3) == Fusion((RandomOracle(3), make_oracle("fusion")))
    assert make_oracle("qk", smoothing=2.0) == Temporal(QueryKey(), 2.0)
    assert make_oracle(QueryKey(level=8), smoothing=2.0) == Temporal(QueryKey(level=8), 2.0)


def test_fusions_that_can_not_be_are_named():
    with pytest.raises(SettingsError, match="'magic' is unknown"):
        make_oracle("attention+magic")
    with pytest.raises(SettingsError, match="two or more oracles"):
        Fusion((AttentionOracle(),))


@pytest.mark.parametrize("smoothing", [-1.0, math.nan, math.inf, -math.inf])
def test_a_smoothing_that_is_no_width_is_an_error(smoothing: float):
    with pytest.raises(SettingsError, match=rf"^smoothing={smoothing} is not a width[^\n]*$"):
        make_oracle("qk", smoothing=smoothing)
    with pytest.raises(SettingsError, match=f"smoothing={smoothing}"):
        Temporal(QueryKey(), smoothing)


@dataclass(frozen=True)
class NoNumber(Oracle):
    """A score that is not finite, of the second of three chunks."""

    value: float

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        return torch.tensor([1.0, self.value, 0.0], dtype=torch.float64)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_a_score_that_is_no_number_is_an_error_wherever_it_comes_from(
    video_xl: VideoXL, index: VideoIndex, value: float
):
    oracle = NoNumber(value)
    for asked in (oracle, Fusion((Fixed((1.0, 2.0, 3.0)), oracle)), Temporal(oracle)):
        with pytest.raises(ModelError, match=r"^NoNumber gave chunk 1 the score (nan|inf|-inf): [^\n]*$"):
            asked.score(video_xl, index, "")


def test_an_oracle_that_does_not_score_every_chunk_is_an_error(video_xl: VideoXL, index: VideoIndex):
    with pytest.raises(SettingsError, match=r"shape \(2,\): 3 chunks"):
        Fixed((1.0, 2.0)).score(video_xl, index, "")
