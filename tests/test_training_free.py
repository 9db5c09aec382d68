"""Compressors without training: what they keep, what it equals, and that every level comes from one pass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor

from videox2l import SummaryTokens, VideoX2L
from videox2l.compression.base import Compressor
from videox2l.compression.combination import Combination
from videox2l.compression.keydiff import KeyDiff
from videox2l.compression.merge import Merge
from videox2l.compression.pool import Pool
from videox2l.compression.random import Random
from videox2l.compression.registry import COMPRESSORS
from videox2l.compression.snapkv import SnapKV
from videox2l.compression.temporal_redundancy import TemporalRedundancy
from videox2l.compression.training_free import Prefilled, TrainingFree, budget
from videox2l.compression.uniform import Uniform
from videox2l.compression.value_norm import ValueNorm
from videox2l.errors import SettingsError
from videox2l.index.reload import load_cache
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.models.load import load_model
from videox2l.testing import tiny_models
from videox2l.testing.conformance import QUESTION, answer, index_frames, noise
from videox2l.types import KV, ChunkPlace, Frames, VideoOutline, VideoTokens

VIDEO = VideoOutline(frames=12, duration_s=12.0)
NAMES = sorted(name for name in COMPRESSORS.names if issubclass(COMPRESSORS[name], TrainingFree))


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MLLM:
    return load_model(tiny_models.build(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return noise(12)


def index(model: MLLM, pixels: Tensor, compressor: Compressor) -> tuple[VideoX2L, VideoIndex]:
    engine = VideoX2L(model, compressor, chunk_frames=4)
    return engine, index_frames(engine, pixels)


@torch.no_grad()
def chunks_of(model: MLLM, pixels: Tensor, frames: int = 4) -> list[VideoTokens]:
    place, tokens = len(model.prompt_ids(VIDEO)), []
    for first in range(0, len(pixels), frames):
        part = Frames(pixels[first : first + frames], torch.arange(first, first + frames, dtype=torch.float64))
        is_last = first + frames >= len(pixels)
        tokens.append(model.visual_tokens(part, ChunkPlace(VIDEO, first, place, is_last)))
        place = int(tokens[-1].positions.max()) + 1
    return tokens


@torch.no_grad()
def compress(model: MLLM, compressor: Compressor, chunks: list[VideoTokens]) -> list[dict[int, KV]]:
    compression = compressor.start(model, model.prompt_kv(VIDEO))
    return [compression.compress(chunk, number in (0, len(chunks) - 1)) for number, chunk in enumerate(chunks)]


def same(first: KV, second: KV) -> bool:
    return torch.equal(first.keys, second.keys) and torch.equal(first.values, second.values)


@pytest.mark.parametrize("name", NAMES)
def test_every_compressor_answers_and_keeps_all_text(model, pixels, name):
    compressor = COMPRESSORS.make(name, levels=(2, 8), one_time_from=None)
    engine, made = index(model, pixels, compressor)
    answered = engine.ask(made, QUESTION)
    assert answered.cache_tokens < answered.full_cache_tokens
    for tokens, entry in zip(chunks_of(model, pixels), made.entries, strict=True):
        visual = int((~tokens.is_text).sum())
        assert entry.raw_tokens == len(tokens)
        for level in (2, 8):
            kv = made.kv(entry.chunk.index, level)
            text = int(tokens.is_text.sum())
            assert text < len(kv) <= text + visual
            if name != "pool":  # whose windows are whole numbers of tokens within each frame
                assert len(kv) == text + budget(tokens, level)
            kept = {tuple(place) for place in kv.positions.reshape(-1, len(kv)).T.tolist()}
            written = tokens.positions.reshape(-1, len(tokens))[:, tokens.is_text].T.tolist()
            assert {tuple(place) for place in written} <= kept
            times = kv.positions.reshape(-1, len(kv))[0]
            assert bool((times.diff() >= 0).all())  # temporal order


@pytest.mark.parametrize("name", NAMES)
def test_coarse_levels_keep_the_text_before_the_first_and_behind_the_last_visual_token(model, pixels, name):
    """From the ratio on that is set; the visual tokens kept are as many as with all of the text."""
    chunks = chunks_of(model, pixels)
    one = compress(model, COMPRESSORS.make(name, levels=(2, 4, 8), context="full", one_time_from=4), chunks)
    every = compress(model, COMPRESSORS.make(name, levels=(2, 4, 8), context="full", one_time_from=None), chunks)
    for tokens, kvs, others in zip(chunks, one, every, strict=True):
        inner = tokens.is_inner_text
        places = tokens.positions.reshape(-1, len(tokens))
        outer = places[:, tokens.is_text & ~inner].T.tolist()
        assert same(kvs[2], others[2])
        for level in (4, 8):
            assert len(kvs[level]) == len(others[level]) - int(inner.sum())
            kept = kvs[level].positions.reshape(-1, len(kvs[level])).T.tolist()
            assert all(place in kept for place in outer)
            assert not any(place in kept for place in places[:, inner].T.tolist())
    assert any(tokens.is_inner_text.any() for tokens in chunks) == (model.model_type == "qwen3_vl")


@pytest.mark.parametrize("name", NAMES)
def test_levels_of_one_pass_are_those_of_their_own_passes(model, pixels, name):
    """With a context that does not depend on the levels, each level is what it is alone."""
    chunks = chunks_of(model, pixels)
    both = compress(model, COMPRESSORS.make(name, levels=(2, 8), context="full"), chunks)
    alone = compress(model, COMPRESSORS.make(name, levels=(8,), context="full"), chunks)
    assert all(same(kvs[8], other[8]) for kvs, other in zip(both, alone, strict=True))


@pytest.mark.parametrize(
    ("name", "context"),
    [*((name, "compressed") for name in NAMES), ("pool", "window:1"), ("pool", "full"), ("pool", "none")],
)
def test_a_later_frame_changes_no_earlier_chunk(model, pixels, name, context):
    compressor = COMPRESSORS.make(name, levels=(2, 8), context=context)
    touched = pixels.clone()
    touched[9, 0, 5, 5] ^= 255
    before, after = (compress(model, compressor, chunks_of(model, part)) for part in (pixels, touched))
    for number in range(2):
        assert all(same(before[number][level], after[number][level]) for level in (2, 8))
    assert not same(before[2][2], after[2][2])


@torch.no_grad()
def test_evicting_kvs_equals_masking_them(model, pixels):
    """The question behind the kept KVs, and behind all of them with the others masked."""
    _, whole = index(model, pixels, Pool(levels=(1,), context="full", positions="original"))
    _, made = index(model, pixels, KeyDiff(levels=(4,), context="full", positions="original"))

    cache = load_cache(model, whole, (1,) * len(whole.entries))
    kept = [torch.ones(len(whole.prompt), dtype=torch.bool)]
    for chunk in range(len(whole.entries)):
        every, some = whole.kv(chunk, 1), made.kv(chunk, 4)
        places, chosen = (kv.positions.reshape(-1, len(kv)) for kv in (every, some))
        seen = (places[:, :, None] == chosen[:, None]).all(dim=0).any(dim=1)
        assert int(seen.sum()) == len(some)
        torch.testing.assert_close(every.keys[:, :, seen], some.keys, atol=1e-4, rtol=0)
        kept.append(seen)
    ids = model.question_ids(QUESTION)
    mask = torch.cat([torch.cat(kept).expand(len(ids), -1), torch.ones(len(ids), len(ids)).tril().bool()], dim=1)
    masked = model.logits(model.run(model.embed(ids), Forward.behind(cache, len(ids), visible=mask))[-1:])[0]
    torch.testing.assert_close(answer(model, made)[0], masked, atol=1e-4, rtol=0)


@pytest.mark.parametrize("compressor", [Pool(), Merge(), KeyDiff(), Uniform()], ids=lambda c: type(c).__name__)
def test_ratio_1_is_the_identity(model, pixels, compressor):
    chunk = prefilled(model, chunks_of(model, pixels)[0])
    reduced = compressor.reduce(chunk, 1)
    assert same(reduced, chunk.kv)
    assert torch.equal(reduced.positions, chunk.kv.positions)


@torch.no_grad()
def prefilled(model: MLLM, tokens: VideoTokens) -> Prefilled:
    forward = Forward.behind(
        model.new_cache(len(tokens)),
        len(tokens),
        positions=tokens.positions,
        deepstack=tokens.deepstack,
        records_kv=True,
        records_queries=True,
    )
    model.run(tokens.embeddings, forward)
    return Prefilled(model, tokens, forward.kv(), tokens.positions, forward.queries, forward.scales)


def by_hand(tokens: VideoTokens, keys: Tensor, values: Tensor, queries: Sequence[Tensor] = ()) -> Prefilled:
    """A chunk that no model ran, whose keys and queries no position turns."""
    model = cast(MLLM, SimpleNamespace(rotate=lambda states, positions: states))
    kv = KV(keys, values, tokens.positions)
    return Prefilled(model, tokens, kv, tokens.positions, list(queries), [None] * len(queries))


def test_pooling_averages_unrotated_keys_of_neighbours_and_leaves_text():
    tokens = VideoTokens.of_frames(torch.zeros(2, 7, 8), 0)
    tokens = replace(tokens, is_text=tokens.positions % 7 == 0)  # each frame: a word, then 6 visual tokens
    chunk = by_hand(tokens, torch.arange(14.0).view(1, 1, 14, 1), -torch.arange(14.0).view(1, 1, 14, 1))
    halves, thirds = Pool().reduce(chunk, 2), Pool().reduce(chunk, 3)
    assert halves.keys.flatten().tolist() == [0, 1.5, 3.5, 5.5, 7, 8.5, 10.5, 12.5]
    assert torch.equal(halves.values, -halves.keys)
    assert halves.positions.tolist() == [0, 1, 3, 5, 7, 8, 10, 12]
    assert thirds.keys.flatten().tolist() == [0, 2, 5, 7, 9, 12]
    assert thirds.positions.tolist() == [0, 2, 5, 7, 9, 12]


def test_a_pooling_window_longer_than_a_frame_takes_whole_frames():
    tokens = VideoTokens.of_frames(torch.zeros(4, 6, 8), 0)
    reduced = Pool().reduce(by_hand(tokens, torch.arange(24.0).view(1, 1, 24, 1), torch.zeros(1, 1, 24, 1)), 12)
    assert reduced.keys.flatten().tolist() == [5.5, 17.5]
    assert reduced.positions.tolist() == [5, 17]


def test_merging_joins_equal_keys_first():
    keys = torch.eye(4).repeat_interleave(2, dim=0).view(1, 1, 8, 4)
    tokens = VideoTokens.of_frames(torch.zeros(1, 8, 8), 0)
    values = torch.arange(8.0).view(1, 1, 8, 1)
    reduced = Merge().reduce(by_hand(tokens, keys, values), 2)
    assert torch.equal(reduced.keys[0, 0], torch.eye(4))
    assert reduced.values.flatten().tolist() == [0.5, 2.5, 4.5, 6.5]


def test_scores_prefer_what_their_papers_say():
    torch.manual_seed(0)
    tokens = VideoTokens.of_frames(torch.zeros(4, 5, 8), 0)
    places = torch.randn(5, 8)
    keys = places.repeat(4, 1)
    keys[7] = -keys[7] * 3  # frame 1, place 2 shows something else
    values = torch.ones(20, 8)
    values[11] *= 9
    chunk = by_hand(tokens, keys[None, None], values[None, None])
    assert int(TemporalRedundancy().scores(chunk).argmax()) == 7
    assert int(ValueNorm().scores(chunk).argmax()) == 11
    values[7] *= 4
    assert int(Combination(parts=(TemporalRedundancy(), ValueNorm())).scores(chunk).argmax()) == 7
    keys = places[:1].repeat(20, 1)
    keys[3] = places[1]
    chunk = by_hand(tokens, keys[None, None], values[None, None])
    assert int(KeyDiff().scores(chunk).argmax()) == 3


@pytest.mark.parametrize("scale", [None, 0.7])
def test_attention_scores_are_the_mass_the_last_tokens_give(model, pixels, scale):
    """With the decoder's own scale, which need not be 1 / sqrt(d_h)."""
    chunk = prefilled(model, chunks_of(model, pixels)[0])
    if scale is not None:
        chunk = replace(chunk, scales=[scale] * len(chunk.queries))
    n = len(chunk.tokens)
    mass = SnapKV(observers=1, kernel=1).scores(chunk)
    expected = torch.zeros(n)
    for layer, query in enumerate(chunk.queries):
        asked = model.rotate(query, chunk.run_positions)[:, -1:]
        keys = model.rotate(chunk.kv.keys[layer], chunk.run_positions).repeat_interleave(2, dim=0)
        expected += (asked @ keys.mT * (scale or keys.shape[-1] ** -0.5)).softmax(-1).mean(dim=(0, 1)) / len(
            chunk.queries
        )
    torch.testing.assert_close(mass, expected)
    torch.testing.assert_close(mass.sum(), torch.tensor(1.0))


@torch.no_grad()
def test_observers_are_kept_as_far_as_they_fill_a_quarter_of_what_a_level_keeps():
    """The newest first; what scores best takes the rest, and a coarse level is part of every finer one."""
    tokens = VideoTokens.of_frames(torch.zeros(8, 16, 8), 0)  # 128 tokens
    generator = torch.Generator().manual_seed(0)
    keys, queries = torch.randn(2, 1, 128, 8, generator=generator), torch.randn(2, 4, 128, 8, generator=generator)
    chunk = by_hand(tokens, keys, keys, list(queries))
    kept = {level: set(SnapKV(observers=12).reduce(chunk, level).positions.tolist()) for level in (2, 4, 8, 32, 64)}
    for level, observers in {2: 12, 4: 8, 8: 4, 32: 1, 64: 0}.items():
        assert len(kept[level]) == 128 // level
        best = SnapKV(observers=12).scores(chunk).sort(descending=True, stable=True).indices.tolist()
        newest = list(range(128 - observers, 128))
        rest = [token for token in best if token not in newest][: 128 // level - observers]
        assert kept[level] == {*newest, *rest}
    assert kept[64] < kept[32] < kept[8] < kept[4] < kept[2]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("attention", {"observers": 0}),
        ("attention", {"kernel": 4}),
        ("attention", {"kernel": 0}),
        ("temporal_redundancy", {"recent_frames": 0}),
        ("combination", {"parts": ()}),
        ("random", {"seed": -1}),
        ("random", {"seed": 2**31}),
        ("pool", {"context_tokens": 0}),
    ],
)
def test_numbers_that_mean_nothing_are_refused(name, settings):
    ((setting, value),) = settings.items()
    with pytest.raises(SettingsError, match=re.escape(f"{setting}={value}")):
        COMPRESSORS.make(name, **settings)


def test_random_draws_others_in_every_chunk_and_the_same_ones_again(model, pixels):
    chunks = chunks_of(model, pixels)
    drawn = [compress(model, Random((4,)), chunks) for _ in range(2)]
    assert all(same(kvs[4], again[4]) for kvs, again in zip(*drawn, strict=True))
    prefilled_chunks = [replace(prefilled(model, chunks[0]), number=number) for number in range(3)]
    scores = [Random().scores(chunk) for chunk in prefilled_chunks]
    assert not torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[1], scores[2])
    assert not torch.equal(Random(seed=1).scores(prefilled_chunks[0]), scores[0])


def test_the_context_is_bounded_and_keeps_the_newest_chunks(model, pixels):
    chunks = chunks_of(model, pixels, frames=2)
    prompt = model.prompt_kv(VIDEO)
    limit = len(prompt) + len(chunks[0])
    compression = Uniform(levels=(2,), context_tokens=limit).start(model, prompt)
    with torch.no_grad():
        for number, chunk in enumerate(chunks):
            compression.compress(chunk, False)
            if number:
                assert len(compression.prompt) + sum(map(len, compression.context.chunks[:-1])) <= limit
            assert compression.context.cache.next_position <= limit + len(chunk)  # positions stay in range
    assert len(compression.context.chunks) < len(chunks)


def test_a_window_sees_so_many_chunks_and_no_more(model, pixels):
    chunks = chunks_of(model, pixels)
    compression = Uniform(context="window:1").start(model, model.prompt_kv(VIDEO))
    with torch.no_grad():
        for chunk in chunks:
            compression.compress(chunk, False)
    assert compression.context.cache.length == len(compression.prompt) + len(chunks[1]) + len(chunks[2])


@torch.no_grad()
def test_contiguous_positions_of_all_kvs_keep_rows_and_columns(model, pixels):
    """Re-numbered, a whole cache keeps every frame's own layout, and nothing overlaps what follows."""
    chunks = chunks_of(model, pixels)
    before = model.prompt_kv(VIDEO).positions
    for chunk in chunks:
        now = model.contiguous(chunk.positions, before)
        assert now.shape == chunk.positions.shape
        for frame in chunk.frame.unique():
            shown = (chunk.frame == frame) & ~chunk.is_text
            old, new = (places.reshape(-1, len(chunk))[-2:, shown] for places in (chunk.positions, now))
            assert torch.equal(old - old[:, :1], new - new[:, :1])  # rows and columns, as far as there are any
        if now.ndim == 1 or model.model_type == "qwen3_vl":
            assert int(now.min()) == int(before.max()) + 1
        else:
            assert int(now[0].min()) == int(before[0].max()) + 1
        before = now


def test_qwen_times_are_renumbered_without_gaps(tmp_path):
    model = load_model(tiny_models.build("qwen2_5_vl", tmp_path), device="cpu")
    positions = torch.tensor([[9, 9, 17, 17, 25], [5, 6, 5, 6, 5], [5, 5, 6, 6, 5]])
    before = torch.tensor([[4, 5], [4, 6], [4, 5]])
    assert model.contiguous(positions, before).tolist() == [[6, 6, 7, 7, 8], *positions[1:].tolist()]


def test_video_xl_is_a_plain_mllm_under_them(video_xl):
    frames = noise(8, 48, 48)
    plain = Pool(levels=(1,), context="full", positions="original")
    _, made = index(video_xl, frames, plain)
    _, summaries = index(video_xl, frames, SummaryTokens((1,)))
    assert answer(video_xl, made)[1] == answer(video_xl, summaries)[1]
    _, made = index(video_xl, frames, Merge())
    assert [entry.tokens for entry in made.entries] == [{2: 288, 4: 144, 32: 18}] * 2


def test_settings_that_can_not_be_met_are_named(model):
    with pytest.raises(SettingsError, match="compressor 'magic' is unknown: pass one of attention"):
        COMPRESSORS.make("magic")
    for context in ("some", "full:3", "window:", "window:0", "window:1:2", "window:²"):
        with pytest.raises(SettingsError, match=f"context '{context}' is unknown"):
            Pool(context=context)
    with pytest.raises(SettingsError, match="compressor pool has no setting 'passes'"):
        COMPRESSORS.make("pool", passes="two_pass")
    assert isinstance(VideoX2L(model).compressor, KeyDiff)
