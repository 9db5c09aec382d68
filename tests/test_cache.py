"""The KV cache rotates every key once, wherever and in however many pieces it comes."""

from __future__ import annotations

import pytest
import torch
from chunks import VIDEO
from torch import Tensor
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding, apply_rotary_pos_emb

from videox2l.answering.generation import Generation, generate
from videox2l.errors import SettingsError
from videox2l.kv.cache import KVCache, KVShape
from videox2l.kv.rope import Rope
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.types import KV, concatenate

SHAPE = KVShape(layers=3, heads=2, head_dim=16)


class CountingRope(Rope):
    """Counts the tokens it rotates."""

    tokens = 0

    def __call__(self, states: Tensor, positions: Tensor) -> Tensor:
        self.tokens += states.shape[-2]
        return super().__call__(states, positions)


def random_kv(tokens: int, first_position: int = 0) -> KV:
    keys, values = torch.randn(2, 3, 2, tokens, 16)
    return KV(keys, values, torch.arange(first_position, first_position + tokens))


def test_rope_equals_transformers_rotary_embedding() -> None:
    config = Qwen2Config(
        hidden_size=64, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 1e6}
    )
    positions = torch.tensor([0, 1, 5, 1000, 40000])
    states = torch.randn(1, 4, 5, 16)
    cos, sin = Qwen2RotaryEmbedding(config)(states, positions[None])
    expected, _ = apply_rotary_pos_emb(states, states, cos, sin)
    torch.testing.assert_close(Rope(16, 1e6)(states[0], positions), expected[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("capacity", [0, 7, 100])
@pytest.mark.parametrize("pieces", [[12], [1] * 12, [5, 0, 7]])
def test_appending_in_pieces_equals_appending_at_once(capacity: int, pieces: list[int]) -> None:
    kv, rope = random_kv(12), Rope(16, 1e4)
    cache = KVCache(SHAPE, rope, capacity)
    starts = torch.tensor([0, *pieces]).cumsum(0)
    for start, size in zip(starts, pieces, strict=False):
        part = slice(int(start), int(start) + size)
        cache.append(KV(kv.keys[:, :, part], kv.values[:, :, part], kv.positions[part]))
    assert cache.length == cache.next_position == 12 <= cache.capacity
    torch.testing.assert_close(cache.keys[:, :, :12], rope(kv.keys, torch.arange(12)), rtol=0, atol=1e-5)
    assert torch.equal(cache.values[:, :, :12], kv.values)


def test_contiguous_positions_close_gaps_and_original_ones_keep_them() -> None:
    rope = Rope(16, 1e4)
    first, second = random_kv(3), random_kv(4, first_position=50)
    contiguous, original = KVCache(SHAPE, rope, 7), KVCache(SHAPE, rope, 7)
    for kv in (first, second):
        contiguous.append(kv)
        original.append(kv, kv.positions)
    both = concatenate([first, second])
    in_the_video = torch.tensor([0, 1, 2, 50, 51, 52, 53])
    torch.testing.assert_close(contiguous.keys, rope(both.keys, torch.arange(7)), rtol=0, atol=1e-5)
    torch.testing.assert_close(original.keys, rope(both.keys, in_the_video), rtol=0, atol=1e-5)
    assert (contiguous.next_position, original.next_position) == (7, 54)
    assert torch.equal(contiguous.values, original.values)


def test_growing_doubles_the_buffer_and_keeps_its_content() -> None:
    cache, kv = KVCache(SHAPE, Rope(16, 1e4), 10), random_kv(10)
    cache.append(kv)
    kept = cache.keys.clone()
    cache.reserve(1)
    assert not cache.keys[:, :, 10:].any()
    assert not cache.values[:, :, 10:].any()
    assert cache.capacity == cache.values.shape[2] == 20  # keys and values alike
    assert torch.equal(cache.keys[:, :, :10], kept)
    buffer = cache.keys
    cache.reserve(10)
    assert cache.keys is buffer


def test_a_buffer_that_no_memory_holds_is_refused_in_a_sentence() -> None:
    with pytest.raises(SettingsError, match=r"^a cache of 1\d{15} tokens does not fit"):
        KVCache(SHAPE, Rope(16, 1e4), 10**15)
    with pytest.raises(SettingsError, match=r"^a cache of 1\d{15} tokens does not fit"):
        KVCache(SHAPE, Rope(16, 1e4), 10).reserve(10**15)


def test_a_cleared_cache_starts_at_position_0_in_the_same_buffer() -> None:
    cache, kv = KVCache(SHAPE, Rope(16, 1e4), 10), random_kv(10)
    cache.append(random_kv(10, 90))
    buffer = cache.keys
    cache.clear()
    cache.append(kv)
    assert cache.keys is buffer
    assert torch.equal(cache.keys, Rope(16, 1e4)(kv.keys, torch.arange(10)))


def test_decoding_rotates_only_the_new_token_and_never_moves_the_cache(
    video_xl: VideoXL, monkeypatch: pytest.MonkeyPatch
) -> None:
    rope = CountingRope(16, video_xl.config.rope_theta)
    monkeypatch.setattr(video_xl, "rope", rope)
    monkeypatch.setattr(video_xl, "eos_ids", ())
    with torch.no_grad():
        prompt = video_xl.prompt_kv(VIDEO)
        cache = video_xl.new_cache(600)
        for _ in range(20):
            cache.append(prompt)
        question = video_xl.question_ids("where?")
        buffer, rope.tokens = cache.keys.data_ptr(), 0
        rotated = [rope.tokens for _ in generate(video_xl, cache, question, Generation(max_new_tokens=5))]
    of_a_token = 2 * video_xl.kv_shape.layers  # its query and key in every layer
    assert rotated == [of_a_token * (len(question) + step) for step in range(5)]
    assert cache.keys.data_ptr() == buffer
