"""The context of earlier chunks: bounded, and after a resume the very same as without an interruption."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from chunks import GROUP_TOKENS, VIDEO, chunk_of, cut, groups_of_noise

from videox2l import SummaryTokens
from videox2l.compression.base import Compression, Compressor
from videox2l.compression.context import Context
from videox2l.compression.group_pooling import GroupCompression, GroupPooling
from videox2l.compression.keydiff import KeyDiff
from videox2l.compression.pool import Pool
from videox2l.compression.registry import COMPRESSORS
from videox2l.compression.summary_tokens import SummaryCompression
from videox2l.compression.training_free import TrainingFree, TrainingFreeCompression
from videox2l.compression.uniform import Uniform
from videox2l.kv.cache import KVCache
from videox2l.models.base import MLLM
from videox2l.models.load import load_model
from videox2l.testing import tiny_models
from videox2l.types import KV, ChunkPlace, Frames, VideoTokens

CHUNKS = 6
TRAINING_FREE = sorted(name for name in COMPRESSORS.names if issubclass(COMPRESSORS[name], TrainingFree))


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def mllm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MLLM:
    return load_model(tiny_models.build(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


@pytest.fixture(scope="module")
def chunks(mllm: MLLM) -> list[VideoTokens]:
    """Six chunks of four frames of noise."""
    generator = torch.Generator().manual_seed(0)
    place, made = len(mllm.prompt_ids(VIDEO)), []
    for first in range(0, 4 * CHUNKS, 4):
        pixels = torch.randint(0, 256, (4, 3, 56, 84), dtype=torch.uint8, generator=generator)
        frames = Frames(pixels, torch.arange(first, first + 4, dtype=torch.float64))
        with torch.no_grad():
            made.append(mllm.visual_tokens(frames, ChunkPlace(VIDEO, first, place, first == 4 * CHUNKS - 4)))
        place = int(made[-1].positions.max()) + 1
    return made


@pytest.fixture(scope="module")
def limit(mllm: MLLM, chunks: list[VideoTokens]) -> int:
    """Context tokens at most: room for some of the chunks, so that the oldest ones have to leave."""
    return len(mllm.prompt_ids(VIDEO)) + 3 * len(chunks[0]) // 2


def same(first: KV, second: KV) -> bool:
    """Whether keys, values and positions are the same, bit by bit."""
    return all(torch.equal(getattr(first, field.name), getattr(second, field.name)) for field in fields(KV))


def contexts(compression: Compression) -> list[Context]:
    """What each pass sees, the one of the finest level first."""
    if isinstance(compression, SummaryCompression):
        return list(compression.contexts.values())
    assert isinstance(compression, TrainingFreeCompression | GroupCompression)
    return [compression.context]


def assert_same_state(first: Compression, second: Compression) -> None:
    for one, other in zip(contexts(first), contexts(second), strict=True):
        assert [len(kv) for kv in one.chunks] == [len(kv) for kv in other.chunks]
        assert all(map(same, one.chunks, other.chunks))
        assert (one.cache.length, one.cache.next_position) == (other.cache.length, other.cache.next_position)
        length = one.cache.length
        assert torch.equal(one.cache.keys[:, :, :length], other.cache.keys[:, :, :length])
        assert torch.equal(one.cache.values[:, :, :length], other.cache.values[:, :, :length])


@torch.no_grad()
def check_resuming(model: MLLM, compressor: Compressor, chunks: list[VideoTokens]) -> Compression:
    """Interrupted behind every chunk in turn and gone on with, a compression makes what it makes in one go."""
    assert compressor.resumes
    prompt, last = model.prompt_kv(VIDEO), len(chunks) - 1
    whole, expected = compressor.start(model, prompt), []
    for number, tokens in enumerate(chunks):
        expected.append(whole.compress(tokens, number in (0, last)))
    for done in range(1, len(chunks)):
        resumed = compressor.start(model, prompt)
        for number in range(done):
            resumed.restore(expected[number], chunks[number].is_text, number == 0)
        for number in range(done, len(chunks)):
            kvs = resumed.compress(chunks[number], number == last)
            assert all(same(kvs[level], expected[number][level]) for level in compressor.levels)
        assert_same_state(resumed, whole)
    return whole


@pytest.mark.parametrize("name", TRAINING_FREE)
@pytest.mark.parametrize("context", ["compressed", "none"])
def test_a_compression_without_training_resumes_to_the_same(mllm, chunks, limit, name, context):
    compressor = COMPRESSORS.make(name, levels=(2, 4), context=context, context_tokens=limit)
    whole = check_resuming(mllm, compressor, chunks)
    assert len(contexts(whole)[0].chunks) < CHUNKS  # the oldest did leave


@pytest.mark.parametrize("context", ["window:1", "window:2", "full", "compressed", "none"])
def test_any_context_resumes_where_every_kv_is_stored(mllm, chunks, limit, context):
    check_resuming(mllm, KeyDiff((1, 4), context=context, context_tokens=limit), chunks)


def test_a_context_of_kvs_that_are_not_stored_does_not_resume():
    assert not Pool((2, 8), context="window:2").resumes
    assert not Pool((2, 8), context="full").resumes


@pytest.mark.parametrize("passes", ["single_pass", "two_pass"])
@pytest.mark.parametrize("levels", [(2, 32), (2, 5, 32), (1, 7)])
@pytest.mark.parametrize("context_tokens", [None, 400])
def test_summary_tokens_resume_to_the_same(video_xl, passes, levels, context_tokens):
    tokens = torch.randn(5 * 288 + 100, 64, generator=torch.Generator().manual_seed(0))
    starts = range(0, len(tokens), 288)
    chunks = [chunk_of(part, 14 + start) for start, part in zip(starts, tokens.split(288), strict=True)]
    whole = check_resuming(video_xl, SummaryTokens(levels, passes=passes, context_tokens=context_tokens), chunks)
    assert (len(contexts(whole)[0].chunks) < CHUNKS) == (context_tokens is not None)


@pytest.mark.parametrize("previous_blocks", [None, 0, 1, 3])
@pytest.mark.parametrize("context_tokens", [None, 3 * GROUP_TOKENS])
def test_group_pooling_resumes_to_the_same(video_xl_2, previous_blocks, context_tokens):
    compressor = GroupPooling((1, 9), block_groups=3, previous_blocks=previous_blocks, context_tokens=context_tokens)
    whole = check_resuming(video_xl_2, compressor, cut(groups_of_noise(11), 2))
    assert (len(contexts(whole)[0].chunks) < CHUNKS) == (context_tokens is not None)


@torch.no_grad()
def test_a_resumed_context_takes_no_more_room_than_an_uninterrupted_one(mllm, chunks, limit, monkeypatch):
    made: list[KVCache] = []
    new_cache = MLLM.new_cache

    def note(model: MLLM, capacity: int) -> KVCache:
        made.append(new_cache(model, capacity))
        return made[-1]

    compressor = Uniform((1, 4), context_tokens=limit)
    prompt, many = mllm.prompt_kv(VIDEO), chunks * 10
    monkeypatch.setattr(MLLM, "new_cache", note)
    whole, resumed = compressor.start(mllm, prompt), compressor.start(mllm, prompt)
    for tokens in many:
        resumed.restore(whole.compress(tokens, False), tokens.is_text, False)
        assert made[1].length <= limit + len(tokens)
    assert made[1].capacity <= made[0].capacity < 8 * limit


@torch.no_grad()
def test_a_context_never_grows_beyond_what_the_trained_context_leaves_beside_a_chunk(mllm, chunks, monkeypatch):
    prompt = mllm.prompt_kv(VIDEO)
    monkeypatch.setattr(mllm, "max_positions", len(prompt) + 3 * len(chunks[0]))
    for compressor in (Uniform((1,)), Uniform((1,), context_tokens=10**6)):
        compression = compressor.start(mllm, prompt)
        for tokens in chunks:
            compression.context.make_room(len(tokens))
            assert compression.context.cache.length + len(tokens) <= mllm.max_positions
            compression.compress(tokens, False)
