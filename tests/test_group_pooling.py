"""Chunked prefill and pooling by groups: what is seen, what is averaged, what is bounded, what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from chunks import GROUP_TOKENS, TEXT_TOKENS, VIDEO, cut, groups_of_noise

from videox2l.compression.group_pooling import GroupCompression, GroupPooling, pool_groups
from videox2l.errors import ModelError, SettingsError
from videox2l.models.base import MLLM
from videox2l.types import KV, VideoTokens, concatenate


@torch.no_grad()
def compress(
    model: MLLM, settings: GroupPooling, chunks: list[VideoTokens]
) -> tuple[GroupCompression, list[dict[int, KV]]]:
    compression = settings.start(model, model.prompt_kv(VIDEO))
    return compression, [compression.compress(chunk, n in (0, len(chunks) - 1)) for n, chunk in enumerate(chunks)]


def same(first: KV, second: KV) -> bool:
    return all(torch.equal(a, b) for a, b in zip(vars(first).values(), vars(second).values(), strict=True))


@pytest.mark.parametrize("previous", [None, 0, 1, 3])
def test_the_size_of_chunks_changes_nothing(video_xl_2, previous):
    """Chunks may be smaller or larger than prefill blocks, and lie across them."""
    settings = GroupPooling((1,), block_groups=2, previous_blocks=previous)
    tokens = groups_of_noise(6)
    _, whole = compress(video_xl_2, settings, [tokens])
    for groups in (1, 3, 4):
        _, kvs = compress(video_xl_2, settings, cut(tokens, groups))
        joined = concatenate([kv[1] for kv in kvs])
        torch.testing.assert_close(joined.keys, whole[0][1].keys, atol=1e-4, rtol=0)
        torch.testing.assert_close(joined.values, whole[0][1].values, atol=1e-4, rtol=0)
        assert torch.equal(joined.positions, tokens.positions)


def test_a_chunk_changes_nothing_before_it(video_xl_2):
    chunks = cut(groups_of_noise(6), 2)
    touched = [*chunks[:2], replace(chunks[2], embeddings=chunks[2].embeddings + 1)]
    _, kvs = compress(video_xl_2, GroupPooling(), chunks)
    _, others = compress(video_xl_2, GroupPooling(), touched)
    for kv, other in zip(kvs[:2], others[:2], strict=True):
        assert same(kv[1], other[1])
        assert same(kv[4], other[4])
    assert not same(kvs[2][1], others[2][1])


def test_a_visual_token_reaches_blocks_beyond_the_window_through_time_texts_only(video_xl_2):
    """One layer later: its block's neighbours see it, further visual tokens do not, time texts all do.

    In fp64, where the faintest trace that a token leaves stands far above rounding.
    """
    model = copy.deepcopy(video_xl_2).double()
    settings = GroupPooling((1,), block_groups=1, previous_blocks=1)
    chunks = [replace(chunk, embeddings=chunk.embeddings.double()) for chunk in cut(groups_of_noise(4), 1)]
    touched = chunks[0].embeddings.clone()
    touched[TEXT_TOKENS + 5] += 1
    _, kvs = compress(model, settings, chunks)
    _, others = compress(model, settings, [replace(chunks[0], embeddings=touched), *chunks[1:]])
    change = [(kv[1].keys[1] - other[1].keys[1]).abs().amax(dim=(0, 2)) for kv, other in zip(kvs, others, strict=True)]
    assert not change[0][: TEXT_TOKENS + 5].any()
    assert (change[1] > 1e-8).all()
    for later in change[2:]:
        assert (later[:TEXT_TOKENS] > 1e-8).all()
        assert not later[TEXT_TOKENS:].any()


def test_pooling_averages_runs_keeps_texts_and_drops_the_remainder(video_xl_2):
    _, (kvs,) = compress(video_xl_2, GroupPooling((1,)), [groups_of_noise(2, start=100)])
    dense, is_text = kvs[1], groups_of_noise(2).is_text
    pooled = pool_groups(dense, is_text, 5)
    assert len(pooled) == 2 * (TEXT_TOKENS + 28)
    assert torch.equal(pooled.keys[:, :, :TEXT_TOKENS], dense.keys[:, :, :TEXT_TOKENS])
    first = GROUP_TOKENS + TEXT_TOKENS  # the second group's first visual token
    run = dense.values[:, :, first + 5 : first + 10]
    torch.testing.assert_close(pooled.values[:, :, 2 * TEXT_TOKENS + 28 + 1], run.mean(dim=2))
    assert pooled.positions[2 * TEXT_TOKENS + 28 + 1] == 100 + first + 5
    assert len(pool_groups(dense, is_text, 144)) == 2 * (TEXT_TOKENS + 1)
    assert pool_groups(dense, is_text, 1) is dense


def test_every_chunk_is_kept_at_every_level(video_xl_2):
    _, kvs = compress(video_xl_2, GroupPooling((1, 4)), cut(groups_of_noise(6), 2))
    assert [len(kv[1]) for kv in kvs] == [302] * 3
    assert [len(kv[4]) for kv in kvs] == [2 * (7 + 36)] * 3


def test_the_memory_is_bounded_and_the_oldest_chunks_leave(video_xl_2):
    """With full attention, what is left is as if the video began with the chunks that stayed."""
    prompt = len(video_xl_2.prompt_kv(VIDEO))
    chunks = cut(groups_of_noise(6), 1)
    settings = GroupPooling((1,), previous_blocks=None, context_tokens=prompt + 2 * GROUP_TOKENS)
    compression, kvs = compress(video_xl_2, settings, chunks)
    assert compression.context.cache.length <= prompt + 3 * GROUP_TOKENS
    assert len(compression.context.chunks) == 3
    fresh = settings.start(video_xl_2, compression.prompt)
    with torch.no_grad():
        for kv, chunk in zip(kvs[3:5], chunks[3:5], strict=True):
            fresh.restore(kv, chunk.is_text, False)
        assert same(fresh.compress(chunks[5], True)[1], kvs[5][1])


def test_a_level_is_the_same_whether_the_dense_kvs_are_kept_or_not(video_xl_2):
    """Chunks see dense KVs in either case; only where they are stored can a compression go on from the store."""
    chunks = cut(groups_of_noise(6), 2)
    _, both = compress(video_xl_2, GroupPooling((1, 4)), chunks)
    _, coarse = compress(video_xl_2, GroupPooling((4,)), chunks)
    assert all(same(kvs[4], other[4]) for kvs, other in zip(both, coarse, strict=True))
    assert GroupPooling((1, 4)).resumes
    assert not GroupPooling((4,)).resumes


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"levels": (1, 145)}, "145"),
        ({"levels": (1, 4, 4)}, "increasing"),
        ({"block_groups": 0}, "block_groups=0"),
        ({"previous_blocks": -1}, "previous_blocks=-1"),
    ],
)
def test_settings_that_can_not_be_met_are_refused(settings, said):
    with pytest.raises(SettingsError, match=said):
        GroupPooling(**settings)


def test_a_model_without_groups_is_refused(video_xl):
    with pytest.raises(ModelError, match="no groups"):
        GroupPooling().start(video_xl, video_xl.prompt_kv(VIDEO))
