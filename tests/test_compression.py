"""Levels made in one pass or several: who sees what, what is shared, how much runs, and that memory is bounded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from chunks import VIDEO, chunk_of
from torch import Tensor

from videox2l import SummaryTokens
from videox2l.compression.base import Passes
from videox2l.errors import SettingsError
from videox2l.kv.cache import KVCache
from videox2l.models.forward import Forward
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.models.video_xl.model import VideoXLModel
from videox2l.models.video_xl.window import Window
from videox2l.types import KV

CHUNK = 288


def video(chunks: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Visual tokens of some chunks."""
    return torch.randn(chunks * CHUNK, 64, generator=torch.Generator().manual_seed(seed)).split(CHUNK)


@torch.no_grad()
def compress(model: VideoXL, settings: SummaryTokens, chunks: tuple[Tensor, ...]) -> list[dict[int, KV]]:
    compression = settings.start(model, model.prompt_kv(VIDEO))
    edges = (0, len(chunks) - 1)
    return [compression.compress(chunk_of(tokens), number in edges) for number, tokens in enumerate(chunks)]


def distance(first: KV, second: KV) -> float:
    return max(float((first.keys - second.keys).abs().max()), float((first.values - second.values).abs().max()))


def same(first: KV, second: KV) -> bool:
    return torch.equal(first.keys, second.keys) and torch.equal(first.values, second.values)


def touch_summaries(monkeypatch: pytest.MonkeyPatch, ratio: int, chunk: int) -> None:
    """Change what the summary tokens of one ratio start from in one chunk."""
    real, windows = VideoXL.summary_inputs, {"seen": -1}

    def touched(model: VideoXL, raw: Tensor, ends: tuple[int, ...], of_ratio: int) -> Tensor:
        windows["seen"] += of_ratio == ratio
        inputs = real(model, raw, ends, of_ratio)
        return inputs + 0.5 if of_ratio == ratio and windows["seen"] == chunk else inputs

    monkeypatch.setattr(VideoXL, "summary_inputs", touched)


THREE_LEVELS = SummaryTokens((2, 8, 32), edge_ratio=None)


@pytest.mark.parametrize("levels", [(2, 32), (2, 8, 32), (4, 16), (1, 8)])
def test_one_pass_makes_the_finest_level_as_its_own_pass_does(video_xl: VideoXL, levels: tuple[int, ...]) -> None:
    chunks = video(5)
    one = compress(video_xl, SummaryTokens(levels, "single_pass"), chunks)
    two = compress(video_xl, SummaryTokens(levels, "two_pass", edge_ratio=None), chunks)
    for kvs, own in zip(one, two, strict=True):
        assert distance(kvs[levels[0]], own[levels[0]]) <= 1e-4
        assert [len(kvs[level]) for level in levels] == [len(own[level]) for level in levels]


def test_one_pass_differs_from_two_only_in_the_memory_that_coarse_levels_read(video_xl: VideoXL) -> None:
    one = compress(video_xl, THREE_LEVELS, video(3))
    two = compress(video_xl, replace(THREE_LEVELS, passes="two_pass"), video(3))
    assert distance(one[2][32], two[2][32]) > 0.01


def test_a_coarse_level_of_one_pass_equals_a_dense_forward_with_its_mask(video_xl: VideoXL) -> None:
    """The skipped work is really unneeded: the same KVs from the whole decoder under an explicit mask."""
    chunks = video(2)
    compression = THREE_LEVELS.start(video_xl, video_xl.prompt_kv(VIDEO))
    with torch.no_grad():
        compression.compress(chunk_of(chunks[0]), False)
        context = compression.contexts[2]
        memory = context.cache
        kvs = compression.compress(chunk_of(chunks[1]), False)
        memory.clear()
        for part in (context.prompt, context.chunks[0]):
            memory.append(part)
        before = memory.length

        tokens = [("raw", end) for end in range(CHUNK)] + [(2, end) for end in range(2, CHUNK + 1, 2)]
        tokens.sort(
            key=lambda token: token[1] + (0.5 if token[0] == "raw" else 0)
        )  # a summary after its last raw token
        main = len(tokens)
        tokens += [(ratio, end) for ratio in (8, 32) for end in range(ratio, CHUNK + 1, ratio)]
        mask = torch.zeros(len(tokens), before + len(tokens), dtype=torch.bool)
        mask[:, :before] = True
        for row, (kind, end) in enumerate(tokens):
            for column, (other, other_end) in enumerate(tokens[: row + 1]):
                of_stream = other == "raw" and (kind == "raw" or other_end < end)
                mask[row, before + column] = (row < main and column <= row) or of_stream or other == kind
        summary = video_xl.model.beacon_embed_tokens.weight[0]
        embeddings = torch.stack([chunks[1][end] if kind == "raw" else summary for kind, end in tokens])
        positions = [before + row for row in range(main)]
        positions += [before + end + end // 2 for _, end in tokens[main:]]
        is_summary = torch.tensor([kind != "raw" for kind, _ in tokens])
        forward = Forward.behind(memory, len(embeddings), positions=torch.tensor(positions), visible=mask)
        video_xl.model(embeddings, forward, is_summary=is_summary)
    for level in (2, 8, 32):
        rows = torch.tensor([row for row, (kind, _) in enumerate(tokens) if kind == level])
        keys = video_xl.rotate(kvs[level].keys, torch.tensor(positions)[rows])
        torch.testing.assert_close(memory.keys[:, :, before + rows], keys, rtol=0, atol=1e-4)
        torch.testing.assert_close(memory.values[:, :, before + rows], kvs[level].values, rtol=0, atol=1e-4)


def test_no_level_reads_another_coarse_levels_summaries(video_xl: VideoXL, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compress(video_xl, THREE_LEVELS, video(3))
    touch_summaries(monkeypatch, ratio=8, chunk=1)
    after = compress(video_xl, THREE_LEVELS, video(3))
    for chunk in range(3):
        assert same(before[chunk][2], after[chunk][2])
        assert same(before[chunk][32], after[chunk][32])
        assert same(before[chunk][8], after[chunk][8]) == (chunk != 1)  # and nothing remembers them


def test_coarse_summaries_read_the_finest_memory_but_not_the_finest_summaries_of_their_chunk(
    video_xl: VideoXL, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = compress(video_xl, THREE_LEVELS, video(3))
    touch_summaries(monkeypatch, ratio=2, chunk=1)
    after = compress(video_xl, THREE_LEVELS, video(3))
    for level in (8, 32):
        assert same(before[0][level], after[0][level])
        # in its own chunk only the raw stream brings the change, from layer 1's output on
        old, new = before[1][level], after[1][level]
        assert torch.equal(old.keys[:2], new.keys[:2])
        assert torch.equal(old.values[:2], new.values[:2])
        assert distance(old, new) > 0.01
        # in the next one the memory does, in layer 0 already
        old, new = before[2][level], after[2][level]
        assert ((old.keys[1] - new.keys[1]).abs().amax(dim=(0, 2)) > 1e-3).all()


def test_two_passes_keep_the_first_and_last_chunk_at_the_edge_ratio_and_one_pass_does_not(video_xl: VideoXL) -> None:
    def counts(settings: SummaryTokens, level: int) -> list[int]:
        return [len(kvs[level]) for kvs in compress(video_xl, settings, video(3))]

    assert counts(SummaryTokens((4, 16), "two_pass"), 16) == [144, 18, 144]
    assert counts(SummaryTokens((4, 16), "two_pass"), 4) == [144, 72, 144]
    assert counts(SummaryTokens((4, 16), "two_pass", edge_ratio=4), 16) == [72, 18, 72]
    assert counts(SummaryTokens((4, 16), "two_pass", edge_ratio=None), 16) == [18, 18, 18]
    assert counts(SummaryTokens((4, 16)), 16) == [18, 18, 18]


@pytest.mark.parametrize(
    "settings", [SummaryTokens((2, 8, 32)), SummaryTokens((1, 8)), SummaryTokens((2, 8), "two_pass")], ids=str
)
def test_a_kv_has_the_position_in_the_video_of_the_last_token_it_summarises(
    video_xl: VideoXL, settings: SummaryTokens
) -> None:
    settings = replace(settings, context_tokens=300)  # chunks leave, positions go on
    compression = settings.start(video_xl, video_xl.prompt_kv(VIDEO))
    for number, tokens in enumerate(video(6)):
        first = 14 + number * CHUNK
        with torch.no_grad():
            kvs = compression.compress(chunk_of(tokens, first), number in (0, 5))
        for level, kv in kvs.items():
            ratio = settings.ratio(level, number in (0, 5))
            assert kv.positions.tolist() == list(range(first + ratio - 1, first + CHUNK, ratio))


def test_one_pass_runs_at_most_061_of_the_tokens_of_two(video_xl: VideoXL) -> None:
    chunks = [1440] * 120
    counts = SummaryTokens((2, 32)).start(video_xl, video_xl.prompt_kv(VIDEO)).decoder_tokens(chunks)
    one, two = counts["single_pass"], counts["two_pass"]
    assert one == 120 * (1440 + 720 + 45)
    assert two == 118 * (2 * 1440 + 720 + 45) + 2 * 2 * (1440 + 720)
    assert one <= 0.61 * two


@pytest.mark.parametrize("passes", ["single_pass", "two_pass"])
@pytest.mark.parametrize(
    "settings", [SummaryTokens((2, 32)), THREE_LEVELS, SummaryTokens((4, 16)), SummaryTokens((1, 5))]
)
def test_counted_tokens_are_the_tokens_run(
    video_xl: VideoXL, settings: SummaryTokens, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(settings, passes=passes)
    ran: list[int] = []
    real = VideoXLModel.compress

    def note(model: VideoXLModel, hidden: Tensor, window: Window, memory: KVCache) -> tuple[Tensor, Tensor]:
        ran.append(hidden.shape[0])
        return real(model, hidden, window, memory)

    chunks = (*video(3), torch.randn(100, 64))
    prompt = video_xl.prompt_kv(VIDEO)
    monkeypatch.setattr(VideoXLModel, "compress", note)
    compression = settings.start(video_xl, prompt)
    with torch.no_grad():
        for number, tokens in enumerate(chunks):
            compression.compress(chunk_of(tokens), number in (0, 3))
    assert sum(ran) == compression.decoder_tokens([len(tokens) for tokens in chunks])[passes]


def test_a_remainder_does_not_outlive_a_change_of_ratio(video_xl: VideoXL) -> None:
    """Five windows of 144 at 32: the published code crashes as a remainder above 2 enters the last one."""
    chunks = tuple(torch.cat(video(3))[: 5 * 144].split(144))
    counts = [len(kvs[32]) for kvs in compress(video_xl, SummaryTokens((2, 32), "two_pass"), chunks)]
    assert counts == [72, 4, 5, 4, 72]


@pytest.mark.parametrize("passes", ["single_pass", "two_pass"])
def test_context_tokens_bound_the_memory_and_change_nothing_before_it_is_full(
    video_xl: VideoXL, passes: Passes
) -> None:
    limit = 14 + 4 * 144
    bounded = SummaryTokens((2, 32), passes, context_tokens=limit)
    prompt, chunks = video_xl.prompt_kv(VIDEO), video(30)
    prompt = KV(prompt.keys[:, :, :14], prompt.values[:, :, :14], prompt.positions[:14])
    bound, free = bounded.start(video_xl, prompt), replace(bounded, context_tokens=None).start(video_xl, prompt)
    with torch.no_grad():
        for number, tokens in enumerate(chunks):
            kvs = bound.compress(chunk_of(tokens), number == 0)
            for context in bound.contexts.values():
                assert context.cache.length <= limit + len(kvs[2])  # the newest chunk is in before the oldest leaves
                assert context.cache.capacity <= 3 * (limit + 2 * CHUNK)
            if number < 7:
                expected = free.compress(chunk_of(tokens), number == 0)
                far = distance(kvs[2], expected[2])
                assert far <= 1e-4 if number <= 4 else far > 0.01
                assert torch.equal(kvs[2].positions, expected[2].positions)
    assert len(bound.contexts[2].chunks) == 5  # it did fill up


def test_beyond_the_bound_a_chunk_sees_the_prompt_and_the_newest_chunks(video_xl: VideoXL) -> None:
    prompt, chunks = video_xl.prompt_kv(VIDEO), video(7)
    settings = SummaryTokens((2, 32), context_tokens=len(prompt) + 3 * 144)
    bound, fresh = settings.start(video_xl, prompt), settings.start(video_xl, prompt)
    with torch.no_grad():
        kvs = [bound.compress(chunk_of(tokens), False) for tokens in chunks]
        for number in (3, 4, 5):
            fresh.restore(kvs[number], chunk_of(chunks[number]).is_text, is_edge=False)
        assert distance(fresh.compress(chunk_of(chunks[6]), False)[32], kvs[6][32]) <= 1e-4


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"levels": ()}, "()"),
        ({"levels": (-1, 2)}, "(-1, 2)"),
        ({"levels": (32, 2)}, "(32, 2)"),
        ({"levels": (2, 2)}, "(2, 2)"),
        ({"passes": "no_pass"}, "'no_pass'"),
        ({"edge_ratio": 0}, "edge_ratio=0"),
        ({"context_tokens": 0}, "context_tokens=0"),
    ],
)
def test_settings_that_can_not_be_met_are_named(settings: dict, named: str) -> None:
    with pytest.raises(SettingsError, match=r"^[^\n]+$") as error:
        SummaryTokens(**settings)
    assert named in str(error.value)
