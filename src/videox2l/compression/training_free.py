"""Compression without training: run the chunk, then keep or average its own KVs, every level from the one pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videox2l.compression.base import Compression, Compressor
from videox2l.compression.context import Context, check_context_tokens
from videox2l.errors import SettingsError
from videox2l.models.base import MLLM
from videox2l.types import KV, VideoTokens, concatenate

CONTEXT_TOKENS = 8192
"""Context tokens that a chunk sees at most, if the user does not say."""


@dataclass(frozen=True)
class Prefilled:
    """A chunk that has been run.

    tokens: the n tokens that went in. kv: their un-rotated KVs, with their positions in the video. run_positions: the
    positions they were run at, behind a context that may be shorter than the video. queries: every layer's un-rotated
    queries (heads, n, d_h), for a compressor that observes.
    """

    model: MLLM
    tokens: VideoTokens
    kv: KV
    run_positions: Tensor
    queries: list[Tensor]


@dataclass(frozen=True)
class TrainingFree(Compressor):
    """Settings of every compressor that needs no training.

    A ratio is one of visual tokens; the text among them is always kept.

    context: what a chunk sees of the chunks before it while it is run: "compressed" (their KVs at the finest level),
        "window:N" (all KVs of the last N), "full" (all KVs of all, as the model itself would; memory then grows with
        the video), or "none". The prompt is always seen.
    context_tokens: beyond so many the oldest chunks leave the context, the prompt stays; by default 8192, or what the
        model's trained context leaves. "full" has no such bound.
    """

    context: str = "compressed"
    context_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        kind, _, chunks = self.context.partition(":")
        if kind not in ("compressed", "full", "none") and not (kind == "window" and chunks.isdigit()):
            raise SettingsError(f"context {self.context!r} is unknown: pass compressed, window:N, full or none")
        check_context_tokens(self.context_tokens)

    @property
    def resumes(self) -> bool:
        """Whether the store has the KVs that make the context: compressed ones, or all where 1 is among the levels."""
        return self.context in ("compressed", "none") or self.levels[0] == 1

    @property
    def observes(self) -> bool:
        """Whether `reduce` needs the chunk's queries."""
        return False

    @abstractmethod
    def reduce(self, chunk: Prefilled, ratio: int) -> KV:
        """The chunk's KVs at a ratio."""

    def start(self, model: MLLM, prompt: KV) -> TrainingFreeCompression:
        """Begin a video whose prompt KVs are given."""
        return TrainingFreeCompression(self, model, prompt)


def budget(tokens: VideoTokens, ratio: int) -> int:
    """How many visual tokens of a chunk a ratio leaves: the nearest whole number, at least 1."""
    visual = int((~tokens.is_text).sum())
    return min(visual, max(1, int(visual / ratio + 0.5)))


class TrainingFreeCompression(Compression):
    """One video under compression."""

    settings: TrainingFree

    def __init__(self, settings: TrainingFree, model: MLLM, prompt: KV):
        self.settings, self.model, self.prompt = settings, model, prompt
        kind, _, chunks = settings.context.partition(":")
        self.sees_every_kv = kind in ("full", "window")
        self.context = Context(
            model,
            prompt,
            max_tokens=None if kind == "full" else settings.context_tokens or CONTEXT_TOKENS,
            max_chunks={"none": 0, "window": int(chunks or 0)}.get(kind),
            original_positions=kind == "full",
        )

    def compress(self, tokens: VideoTokens, is_edge: bool) -> dict[int, KV]:
        """Run the next chunk behind its context, then reduce it to every level."""
        self.context.make_room(len(tokens))
        forward = self.context.run(tokens, records_queries=self.settings.observes)
        kv = replace(forward.kv(), positions=tokens.positions)
        chunk = Prefilled(self.model, tokens, kv, forward.positions, forward.queries)
        kvs = {level: kv if level == 1 else self.settings.reduce(chunk, level) for level in self.settings.levels}
        self.context.append(kv if self.sees_every_kv else kvs[self.settings.levels[0]])
        return kvs

    def restore(self, kvs: Mapping[int, KV], is_text: Tensor, is_edge: bool) -> None:
        """Take a chunk that was compressed before as done."""
        self.context.make_room(len(is_text))
        self.context.append(kvs[self.settings.levels[0]])

    def decoder_tokens(self, chunk_tokens: list[int]) -> dict[str, int]:
        """Every token once, whatever the levels."""
        return {"single_pass": sum(chunk_tokens)}


@dataclass(frozen=True)
class Eviction(TrainingFree):
    """Keep the best-scored visual tokens of each chunk, the same ones in every layer and head."""

    @abstractmethod
    def scores(self, chunk: Prefilled) -> Tensor:
        """How much each of the chunk's tokens is worth keeping, fp32 (n,); those of text tokens are not looked at."""

    def reduce(self, chunk: Prefilled, ratio: int) -> KV:
        """The text tokens and the best-scored visual ones, in temporal order; ties go to the earlier token."""
        text = chunk.tokens.is_text
        scores = self.scores(chunk).masked_fill(text, float("-inf"))
        best = scores.sort(descending=True, stable=True).indices[: budget(chunk.tokens, ratio)]
        kept = torch.cat([best, text.nonzero()[:, 0]]).sort().values
        return chunk.kv.take(kept)


@dataclass(frozen=True)
class Averaging(TrainingFree):
    """Average the un-rotated KVs of groups of visual tokens; a group takes the position of one of its members."""

    @abstractmethod
    def groups(self, chunk: Prefilled, keys: Tensor, ratio: int) -> Tensor:
        """For each visual token the representative of its group, (visual tokens,), as an index of visual tokens.

        keys: their un-rotated keys, (n_l, n_h, visual tokens, d_h).
        """

    def reduce(self, chunk: Prefilled, ratio: int) -> KV:
        """The text tokens as they are, and one KV for each group at its representative's place."""
        text, visual = chunk.tokens.is_text.nonzero()[:, 0], (~chunk.tokens.is_text).nonzero()[:, 0]
        seen = chunk.kv.take(visual)
        group = self.groups(chunk, seen.keys, ratio)
        representatives, member_of = group.unique(return_inverse=True)  # ascending, so in temporal order
        averaged = KV(
            mean_by_group(seen.keys, member_of, len(representatives)),
            mean_by_group(seen.values, member_of, len(representatives)),
            seen.positions[..., representatives],
        )
        if not len(text):
            return averaged
        order = torch.cat([text, visual[representatives]]).argsort()
        return concatenate([chunk.kv.take(text), averaged]).take(order)


def mean_by_group(states: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean over the tokens of each group: (n_l, n_h, n, d_h) -> (n_l, n_h, groups, d_h), in fp32."""
    sums = states.new_zeros(*states.shape[:2], groups, states.shape[3], dtype=torch.float32)
    sums.index_add_(2, group, states.float())
    return (sums / group.bincount(minlength=groups)[:, None]).to(states.dtype)
