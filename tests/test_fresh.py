"""Chunks that are kept as they enter the decoder, and prefilled anew when they are read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from videox2l import FRESH, NOTHING, OneLevel, VideoX2L
from videox2l.compression.base import Compressor
from videox2l.compression.fresh import Fresh
from videox2l.compression.keydiff import KeyDiff
from videox2l.compression.pool import Pool
from videox2l.compression.registry import COMPRESSORS
from videox2l.errors import SettingsError
from videox2l.index.reload import chunk_spans, load_cache
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.models.load import load_model
from videox2l.store import DiskStore, RamStore
from videox2l.testing.conformance import index_frames, noise
from videox2l.testing.tiny_models import build
from videox2l.types import VideoTokens

PIXELS = noise(16)
CHUNKS = 4
"""Of four frames each."""


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl", "llava_onevision"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MLLM:
    return load_model(build(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


@pytest.fixture(scope="module")
def index(model: MLLM) -> VideoIndex:
    return made(model, COMPRESSORS.make("keydiff", levels=("fresh", 4), positions=model.positions))


def made(model: MLLM, compressor: Compressor, store=None) -> VideoIndex:
    engine = VideoX2L(model, compressor, chunk_frames=4, store=store or RamStore())
    return index_frames(engine, PIXELS)


def by_hand(model: MLLM, index: VideoIndex, parts: list) -> Tensor:
    """Keys and values of a cache in which KVs are put and tokens are run one after the other."""
    cache = model.new_cache(10_000)
    cache.append(index.prompt)
    before = index.prompt.positions
    for part in parts:
        before = part.positions if index.spec.positions == "original" else model.contiguous(part.positions, before)
        if isinstance(part, VideoTokens):
            forward = Forward.behind(cache, len(part), positions=before, deepstack=part.deepstack)
            model.run(part.embeddings, forward)
        else:
            cache.append(part, before)
    return torch.stack([cache.keys[:, :, : cache.length], cache.values[:, :, : cache.length]])


@torch.no_grad()
def loaded(model: MLLM, index: VideoIndex, levels, **settings) -> Tensor:
    cache = load_cache(model, index, levels, **settings)
    return torch.stack([cache.keys[:, :, : cache.length], cache.values[:, :, : cache.length]])


@torch.no_grad()
def test_a_fresh_chunk_is_prefilled_behind_what_is_read_before_it(model: MLLM, index: VideoIndex) -> None:
    levels = (4, FRESH, 4, FRESH)
    parts = [index.read(chunk, level) for chunk, level in enumerate(levels)]
    assert [isinstance(part, VideoTokens) for part in parts] == [False, True, False, True]
    torch.testing.assert_close(loaded(model, index, levels), by_hand(model, index, parts))
    assert index.tokens(levels) == len(index.prompt) + sum(map(len, parts))
    others = loaded(model, index, (FRESH, FRESH, 4, FRESH))
    last = chunk_spans(index, levels)[-1]
    assert not torch.allclose(loaded(model, index, levels)[..., last, :], others[..., -len(parts[-1]) :, :])


@torch.no_grad()
def test_a_chunk_can_be_left_out(model: MLLM, index: VideoIndex) -> None:
    levels = (NOTHING, FRESH, NOTHING, 4)
    parts = [index.read(1, FRESH), index.read(3, 4)]
    torch.testing.assert_close(loaded(model, index, levels), by_hand(model, index, parts))
    assert [span.stop - span.start for span in chunk_spans(index, levels)] == [0, len(parts[0]), 0, len(parts[1])]


def test_what_enters_the_decoder_is_kept_without_loss(model: MLLM, index: VideoIndex, tmp_path: Path) -> None:
    """In memory and on disk, with the same settings and by themselves."""
    whole = made(model, Fresh(), DiskStore(tmp_path))
    at_1x = made(model, Pool(levels=(1,)))
    for chunk in range(CHUNKS):
        kept, on_disk = index.read(chunk, FRESH), whole.read(chunk, FRESH)
        assert isinstance(kept, VideoTokens) and isinstance(on_disk, VideoTokens)
        for one, other in zip(vars(kept).values(), vars(on_disk).values(), strict=True):
            assert (one is other is None) or torch.equal(one, other)
        assert len(kept) == index.entries[chunk].raw_tokens == at_1x.entries[chunk].tokens[1]
        assert torch.equal(kept.positions, at_1x.kv(chunk, 1).positions)
        assert kept.frame.tolist() == sorted(kept.frame.tolist())
        assert (kept.deepstack is not None) == (model.model_type == "qwen3_vl")
    assert whole.decoder_tokens == {"single_pass": 0}


def test_an_answer_says_what_was_read_and_how_long_the_prefill_took(model: MLLM) -> None:
    engine = VideoX2L(model, KeyDiff(levels=(FRESH, 4)), chunk_frames=4, store=RamStore(), selector=OneLevel(FRESH))
    index = index_frames(engine, PIXELS)
    answer = engine.ask(index, "What is it?")
    assert answer.cache_tokens == answer.full_cache_tokens == index.full_tokens
    assert answer.timings_s["prefill"] > 0
    said = answer.to_json()["chunks"]
    assert [(chunk["level"], chunk["ratio"], chunk["frames_s"]) for chunk in said] == [("fresh", 1.0, None)] * CHUNKS
    assert "prefill" not in engine.ask(index, "What is it?", selector=OneLevel(4)).timings_s
    assert "levels fresh,4" in repr(index)


@torch.no_grad()
def test_oracles_read_fresh_chunks_where_there_are_no_kvs(model: MLLM) -> None:
    engine = VideoX2L(model, Fresh(), chunk_frames=4, store=RamStore())
    index = index_frames(engine, PIXELS)
    for oracle in ("attention", "probe"):
        scores = engine.ask(index, "What is it?", oracle=oracle).selection.scores
        assert scores is not None and len(set(scores)) == CHUNKS
    with pytest.raises(SettingsError, match="QueryKey can't read level fresh"):
        engine.ask(index, "What is it?", oracle="qk")


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ((32, "fresh"), "not in increasing order"),
        (("fresh", "fresh"), "not in increasing order"),
        (("fine", 32), "are not compression ratios"),
        ((NOTHING,), "are not compression ratios"),
        ((), "are not compression ratios"),
        (("fresh",), "pass a ratio too, as in fresh,32, or the compressor fresh"),
    ],
)
def test_levels_that_mean_nothing_are_refused(levels, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        COMPRESSORS.make("keydiff", levels=levels)
    with pytest.raises(SettingsError, match="the compressor fresh keeps no KVs at 32x"):
        Fresh(levels=(FRESH, 32))


def test_levels_are_ordered_the_finest_first() -> None:
    assert all(fine < coarse for fine, coarse in pairwise((*KeyDiff(levels=(FRESH, 1, 32)).levels, NOTHING)))
