"""One run of the decoder: packed sequences, fixed buffers and records change nothing of what is computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from videox2l.answering.generation import Generation, generate
from videox2l.kv.cache import KVCache
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward, Sequence
from videox2l.models.load import load_model
from videox2l.testing import tiny_models
from videox2l.testing.conformance import noise
from videox2l.types import ChunkPlace, Frames, VideoOutline, VideoTokens


@pytest.fixture(scope="module", params=["video_xl", "llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MLLM:
    if request.param == "video_xl":
        return request.getfixturevalue("video_xl")
    return load_model(tiny_models.build(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


def chunk(model: MLLM, frames: int, height: int) -> VideoTokens:
    """A first chunk of so many frames, with its positions and deep features."""
    outline = VideoOutline(frames, float(frames))
    place = ChunkPlace(outline, 0, len(model.prompt_ids(outline)), is_last=True)
    return model.visual_tokens(Frames(noise(frames, height, 96), torch.arange(frames).double()), place)


def prompt_cache(model: MLLM) -> KVCache:
    kv = model.prompt_kv(VideoOutline(4, 4.0))
    cache = model.new_cache(len(kv))
    cache.append(kv)
    return cache


@torch.no_grad()
def test_packed_chunks_equal_chunks_alone(model: MLLM) -> None:
    """Of different sizes, each behind a cache of its own, with M-RoPE and deep features where the family has them."""
    chunks = [chunk(model, 4, 72), chunk(model, 2, 96), chunk(model, 2, 72)]
    alone, states = [], []
    for tokens in chunks:
        cache = prompt_cache(model)
        forward = Forward.behind(cache, len(tokens), positions=tokens.positions, deepstack=tokens.deepstack)
        states.append(model.run(tokens.embeddings, forward))
        alone.append(cache)
    together = [prompt_cache(model) for _ in chunks]
    deepstack = [tokens.deepstack for tokens in chunks if tokens.deepstack is not None]
    forward = Forward(
        tuple(Sequence(cache, len(tokens)) for cache, tokens in zip(together, chunks, strict=True)),
        torch.cat([tokens.positions for tokens in chunks], dim=-1),
        torch.cat(deepstack, dim=1) if deepstack else None,
        records_kv=True,
    )
    packed = model.run(torch.cat([tokens.embeddings for tokens in chunks]), forward)
    torch.testing.assert_close(packed, torch.cat(states), atol=1e-4, rtol=1e-4)
    assert len(forward.kv()) == sum(map(len, chunks))
    for one, other in zip(alone, together, strict=True):
        assert (other.length, other.next_position) == (one.length, one.next_position)
        for name in ("keys", "values"):
            filled = (getattr(cache, name)[:, :, : one.length] for cache in (other, one))
            torch.testing.assert_close(*filled, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_questions_packed_behind_caches_of_different_lengths_equal_questions_alone(model: MLLM) -> None:
    questions = [model.question_ids(text) for text in ("What turns red?", "Why?", "Where is it, and when?")]
    caches = [prompt_cache(model) for _ in questions]
    caches[1].append(model.prompt_kv(VideoOutline(4, 4.0)))
    alone = [prompt_cache(model) for _ in questions]
    alone[1].append(model.prompt_kv(VideoOutline(4, 4.0)))
    packed = model.run(model.embed(torch.cat(questions)), Forward.packed(caches, [len(ids) for ids in questions]))
    apart = torch.cat([model.read(ids, cache) for ids, cache in zip(questions, alone, strict=True)])
    torch.testing.assert_close(packed, apart, atol=1e-4, rtol=1e-4)
    # and once more, as in decoding: one token each
    token = torch.tensor([5, 6, 7])
    packed = model.run(model.embed(token), Forward.packed(caches, [1, 1, 1]))
    apart = torch.cat([model.read(token[[place]], cache) for place, cache in enumerate(alone)])
    torch.testing.assert_close(packed, apart, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_texts_side_by_side_behind_one_cache_equal_each_alone(model: MLLM) -> None:
    questions = [model.question_ids(text) for text in ("What turns red?", "Why?", "Where is it, and when?")]
    cache = prompt_cache(model)
    forward = Forward.side_by_side(cache, [len(ids) for ids in questions])
    together = model.run(model.embed(torch.cat(questions)), forward)
    alone = torch.cat([model.read(ids, prompt_cache(model)) for ids in questions])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


class FixedDecoder:
    """Greedy decoding by one run whose tensors stay where they are, as a replayed CUDA graph needs them."""

    def __init__(self, model: MLLM, cache: KVCache):
        self.model, self.cache = model, cache
        self.token = torch.zeros(1, dtype=torch.long)
        self.slots = torch.zeros(1, dtype=torch.long)
        self.positions = torch.zeros(1, dtype=torch.long)
        self.visible = torch.zeros(1, cache.capacity, dtype=torch.bool)
        self.visible[:, : cache.length] = True
        sequence = Sequence(cache, 1, self.visible, self.slots)
        self.forward = Forward((sequence,), self.positions)

    def step(self, token: int, place: int, position: int) -> Tensor:
        """The logits behind a token written to a place of the buffer."""
        self.token.fill_(token)
        self.slots.fill_(place)
        self.positions.fill_(position)
        self.visible[:, place] = True
        return self.model.logits(self.model.run(self.model.embed(self.token), self.forward))[0]


@torch.no_grad()
def test_decoding_in_a_fixed_buffer_equals_the_ordinary_path(model: MLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "eos_ids", ())
    question = model.question_ids("What turns red?")
    settings = Generation(max_new_tokens=12)
    ordinary = list(generate(model, prompt_cache(model), question, settings))

    cache = prompt_cache(model)
    cache.reserve(len(question) + 20)
    token = int(model.logits(model.read(question, cache)[-1:]).argmax())
    buffer, start, position = cache.keys, cache.length, cache.next_position
    assert not cache.keys[:, :, start:].any()
    cache.values[:, :, start:] = 1e4  # what is not filled is not attended to
    fixed, ids = FixedDecoder(model, cache), []
    for step in range(12):
        ids.append(token)
        token = int(fixed.step(token, start + step, position + step).argmax())
    assert ids == ordinary
    assert cache.keys is buffer
    assert (cache.length, cache.next_position) == (start, position)  # whoever fixes the buffer counts


@torch.no_grad()
def test_what_is_recorded_is_what_the_cache_holds(model: MLLM) -> None:
    tokens, cache = chunk(model, 4, 72), prompt_cache(model)
    before = cache.length
    forward = Forward.behind(
        cache,
        len(tokens),
        positions=tokens.positions,
        deepstack=tokens.deepstack,
        records_kv=True,
        records_queries=True,
    )
    model.run(tokens.embeddings, forward)
    kv = forward.kv()
    assert torch.equal(kv.positions, tokens.positions)
    torch.testing.assert_close(cache.values[:, :, before : cache.length], kv.values, atol=0, rtol=0)
    rotated = model.rotate(kv.keys, tokens.positions)
    torch.testing.assert_close(cache.keys[:, :, before : cache.length], rotated, atol=1e-5, rtol=1e-5)
    assert len(forward.queries) == len(forward.scales) == model.kv_shape.layers
    assert {query.shape[1:] for query in forward.queries} == {(len(tokens), model.kv_shape.head_dim)}
    silent = Forward.behind(prompt_cache(model), len(tokens), positions=tokens.positions)
    model.run(tokens.embeddings, silent)
    assert not (silent.keys or silent.values or silent.queries or silent.scales)
