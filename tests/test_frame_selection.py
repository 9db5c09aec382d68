"""Frames instead of chunks: which ones each method picks, and that these alone are read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from videox2l import FRESH, NOTHING, VideoX2L
from videox2l.compression.fresh import Fresh
from videox2l.compression.pool import Pool
from videox2l.errors import SettingsError
from videox2l.index.reload import load_cache
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.models.load import load_model
from videox2l.selection.frames.base import Frame, FrameSelector, best_within, frames_of, scores_of
from videox2l.selection.registry import SELECTORS
from videox2l.store import RamStore
from videox2l.testing.conformance import index_frames, noise
from videox2l.testing.tiny_models import build
from videox2l.types import KV, FrameScores, Moment, Scores, VideoTokens

METHODS = ("frames_adaq", "frames_aks", "frames_bolt", "frames_top_k", "frames_uniform")
PIXELS = noise(24)


def method(name: str, cache_tokens: int = 1000, **settings) -> FrameSelector:
    made = SELECTORS.make(name, cache_tokens=cache_tokens, **settings)
    assert isinstance(made, FrameSelector)
    return made


def picked(name: str, scores: Tensor, count: int) -> list[int]:
    return sorted(method(name).pick(scores.double(), count))


def peak(frames: int, at: int, width: float) -> Tensor:
    return (-(((torch.arange(frames) - at) / width) ** 2)).exp()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("frames", [1, 2, 7, 100])
@pytest.mark.parametrize("scores", ["flat", "peak", "noise", "one hot", "negative"])
def test_every_method_picks_different_frames_whatever_the_scores(name: str, frames: int, scores: str) -> None:
    given = {
        "flat": torch.full((frames,), 0.3),
        "peak": peak(frames, frames // 3, 2.0),
        "noise": torch.rand(frames, generator=torch.Generator().manual_seed(0)),
        "one hot": torch.eye(frames)[frames // 2],
        "negative": -peak(frames, 0, 5.0) - 4,
    }[scores]
    for count in {1, min(2, frames), min(5, frames), frames}:
        found = method(name).pick(given.double(), count)
        assert all(0 <= frame < frames for frame in found)
        assert len(set(found)) == len(list(found)) <= count
        assert found
        if name != "frames_aks":  # it may give fewer
            assert len(set(found)) == count


def test_uniform_frames_are_the_middles_of_equal_parts() -> None:
    assert picked("frames_uniform", torch.zeros(12), 4) == [1, 4, 7, 10]
    assert picked("frames_uniform", torch.zeros(5), 2) == [1, 3]


def test_top_frames_are_the_best() -> None:
    assert picked("frames_top_k", peak(100, 40, 3), 3) == [39, 40, 41]
    assert picked("frames_top_k", torch.zeros(9), 3) == [0, 1, 2]


def test_adaptive_keyframes_follow_a_peak_and_spread_over_what_is_flat() -> None:
    assert picked("frames_aks", torch.eye(100)[40] + 0.9 * torch.eye(100)[41], 2) == [40, 41]
    spread = picked("frames_aks", torch.zeros(64), 8)
    assert len(spread) == 8
    assert {frame // 8 for frame in spread} == set(range(8))
    # the whole video is cut because its mean is high; the second half stands out, the first is flat and is cut again
    both = torch.cat([torch.full((64,), 0.5), torch.zeros(64)])
    both[100:104] = 1.0
    assert picked("frames_aks", both, 4) == [0, 32, 100, 101]


def test_inverse_transform_sampling_spends_frames_where_the_scores_are_high() -> None:
    assert picked("frames_bolt", torch.zeros(100), 4) == pytest.approx([24, 41, 58, 74], abs=1)
    scores = torch.cat([torch.zeros(50), torch.ones(50)])
    assert min(picked("frames_bolt", scores, 10)) >= 50
    rising = picked("frames_bolt", torch.arange(100.0), 20)
    assert sum(frame >= 50 for frame in rising) == pytest.approx(15, abs=1)  # three quarters of the mass


def test_adaptive_query_draws_the_likely_frames_and_the_same_ones_again() -> None:
    scores = peak(1000, 500, 10)
    found = picked("frames_adaq", scores, 8)
    assert all(450 < frame < 550 for frame in found)
    noise_scores = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    draws = [sorted(method("frames_adaq", seed=seed).pick(noise_scores.double(), 8)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_scores_are_given_to_the_frames_that_are_shown_then() -> None:
    scored = FrameScores(torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]).double(), torch.tensor([1.0, 5.0, 2.0, 3.0, 4.0]))
    assert best_within([0.0, 2.0, 4.0], scored).tolist() == [5.0, 3.0, 4.0]
    assert best_within([0.0, 0.5, 4.0], scored).tolist() == [1.0, 5.0, 4.0]
    assert best_within([0.5, 8.0], scored).tolist() == [5.0, 1.0]


def test_frames_at_a_time_that_the_question_names_come_first() -> None:
    frames = [Frame(second // 4, second % 4, float(second), 10) for second in range(12)]
    scored = FrameScores(torch.arange(12).double(), torch.rand(12))
    named = Scores(torch.zeros(3), scored, (Moment(4.5, 6.0),))
    found = scores_of(frames, named)
    assert sorted(found.sort(descending=True).indices[:2].tolist()) == [4, 5]
    others = [second for second in range(12) if second not in (4, 5)]
    assert torch.equal(found[others], scores_of(frames, Scores(torch.zeros(3), scored))[others])


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl", "smolvlm"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MLLM:
    if request.param == "smolvlm":
        pytest.importorskip("num2words")
    return load_model(build(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


@pytest.fixture(scope="module")
def index(model: MLLM) -> VideoIndex:
    compressor = Pool(levels=(FRESH, 1), context="full", positions=model.positions)
    return index_frames(VideoX2L(model, compressor, chunk_frames=6, store=RamStore()), PIXELS)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_read_is_as_large_as_it_may_be(index: VideoIndex, name: str) -> None:
    frames = frames_of(index)
    most = max(frame.tokens for frame in frames)
    times = torch.tensor([frame.time_s for frame in frames]).double()
    scores = Scores(torch.arange(4.0), FrameScores(times, torch.rand(len(times))))
    for room in (most, 3 * most + 1, 7 * most):
        budget = len(index.prompt) + room
        selection = method(name, budget).choose(scores, index)
        used = index.tokens(selection.levels, selection.chosen_frames)
        assert used <= budget
        if name != "frames_aks":
            assert used > budget - most
        assert set(selection.levels) <= {FRESH, NOTHING}
        assert sorted(selection.moments) == [chunk for chunk, level in enumerate(selection.levels) if level == FRESH]
    every = method(name, index.full_tokens).choose(scores, index)
    if name != "frames_aks":
        assert every.levels == (FRESH,) * 4
        assert every.chosen_frames == {}


def test_a_budget_without_room_for_a_frame_is_refused(index: VideoIndex) -> None:
    with pytest.raises(SettingsError, match="has no room for a frame of"):
        method("frames_uniform", len(index.prompt) + 1).choose(None, index)


@torch.no_grad()
def test_only_the_tokens_of_the_chosen_frames_are_read_with_the_text_that_belongs_to_them(
    model: MLLM, index: VideoIndex
) -> None:
    whole, stored = index.read(1, FRESH), index.read(1, 1)
    assert isinstance(whole, VideoTokens)
    last = len(index.entries[1].frames) - 1
    part, kvs = index.read(1, FRESH, (0, last)), index.read(1, 1, (0, last))
    assert isinstance(part, VideoTokens)
    kept = torch.tensor([frame in (0, last) for frame in whole.frame.tolist()])
    assert len(part) == len(kvs) == index.entries[1].tokens_at(FRESH, (0, last)) < len(whole)
    assert torch.equal(part.embeddings, whole.embeddings[kept])
    assert torch.equal(part.positions, whole.positions[..., kept])
    assert isinstance(kvs, KV) and isinstance(stored, KV)
    assert torch.equal(kvs.keys, stored.keys[:, :, kept])
    for frame, entry in enumerate(index.entries[1].frames):
        assert entry.tokens == int((whole.frame == frame).sum())
        assert entry.time_s == 6 + frame * model.frame_group


@torch.no_grad()
def test_fresh_frames_do_not_know_the_others_and_reloaded_ones_do(model: MLLM, index: VideoIndex) -> None:
    """One frame prefilled right behind the prompt, and its KVs, which saw the chunks before."""
    levels, frames = (NOTHING, NOTHING, FRESH, NOTHING), {2: (1,)}
    fresh = load_cache(model, index, levels, frames=frames)
    reloaded = load_cache(model, index, (NOTHING, NOTHING, 1, NOTHING), frames=frames)
    assert fresh.length == reloaded.length == index.tokens(levels, frames)
    start = len(index.prompt)
    first, deep = (fresh.values[layer, :, start : fresh.length] for layer in (0, -1))
    torch.testing.assert_close(first, reloaded.values[0, :, start : fresh.length])
    assert not torch.allclose(deep, reloaded.values[-1, :, start : fresh.length], atol=1e-3)


@torch.no_grad()
def test_all_frames_read_by_themselves_are_the_whole_chunk(model: MLLM, index: VideoIndex) -> None:
    every = {chunk: tuple(range(len(index.entries[chunk].frames))) for chunk in range(4)}
    for level in (FRESH, 1):
        whole, parts = (load_cache(model, index, (level,) * 4, frames=frames) for frames in ({}, every))
        assert torch.equal(whole.keys, parts.keys)


def test_an_answer_from_frames_says_which_were_read(model: MLLM, index: VideoIndex) -> None:
    engine = VideoX2L(model, Fresh(positions=model.positions), chunk_frames=6, store=RamStore())
    budget = len(index.prompt) + 4 * max(frame.tokens for frame in frames_of(index))
    made = index_frames(engine, PIXELS)
    answer = engine.ask(made, "What is it?", selector=method("frames_uniform", budget))
    assert answer.cache_tokens <= budget
    read = [time for chunk in answer.chunks for time in chunk.frames_s or ()]
    assert len(read) == 4
    assert all(earlier < later for earlier, later in pairwise(read))
    for chunk in answer.to_json()["chunks"]:
        raw = made.entries[chunk["index"]].raw_tokens
        tokens = sum(frame.tokens for frame in made.entries[chunk["index"]].frames if frame.time_s in read)
        assert chunk["ratio"] == (raw / tokens if tokens else None)
        assert chunk["level"] == ("fresh" if tokens else "nothing")


def test_frames_can_not_be_read_where_no_level_holds_them(model: MLLM) -> None:
    with pytest.raises(SettingsError, match="can't be read from levels 2,32: index the video at level fresh or 1"):
        VideoX2L(model, Pool(), selector=method("frames_uniform"))
    with pytest.raises(SettingsError, match="index the video at level fresh"):
        VideoX2L(model, Pool(levels=(1, 32)), selector=method("frames_uniform", level=FRESH))
    with pytest.raises(SettingsError, match="level 4 has no KVs of single frames"):
        method("frames_uniform", level=4)


def test_the_command_line_selects_frames(run, clip: Path) -> None:
    code, out, _ = run(
        *("ask", clip, "What is it?", "--levels", "fresh", "--selector", "frames_uniform"),
        *("--chunk-frames", 2, "--cache-tokens", 500, "--json"),
    )
    assert code == 0
    assert '"frames_s": [' in out
    assert '"level": "nothing"' in out
