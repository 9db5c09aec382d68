"""Compression without training: run the chunk, then keep or average its own KVs, every level from the one pass."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videox2l.compression.base import Compression, Compressor
from videox2l.compression.context import Context, check_context_tokens
from videox2l.errors import SettingsError
from videox2l.models.base import MLLM
from videox2l.types import KV, Positions, VideoTokens, concatenate

CONTEXT_TOKENS = 8192
"""Context tokens that a chunk sees at most, if the user does not say."""


@dataclass(frozen=True)
class Prefilled:
    """A chunk that has been run.

    model: the model that ran it.
    tokens: the n tokens that went in.
    kv: their un-rotated KVs, with their positions in the video.
    run_positions: (n,) or (3, n), where they stood while they were run.
    queries: every layer's un-rotated queries (heads, n, d_h), for a compressor that observes; otherwise empty.
    scales: what each layer multiplies their products with the keys by, as `Forward` records it.
    number: how many chunks of the video came before.
    """

    model: MLLM
    tokens: VideoTokens
    kv: KV
    run_positions: Tensor
    queries: list[Tensor]
    scales: list[float | None]
    number: int = 0

    def with_one_time(self) -> Prefilled:
        """The chunk without the text that stands between its visual tokens."""
        kept = (~self.tokens.is_inner_text).nonzero()[:, 0]
        if len(kept) == len(self.tokens):
            return self
        return replace(
            self,
            tokens=self.tokens.take(kept),
            kv=self.kv.take(kept),
            run_positions=self.run_positions[..., kept],
            queries=[query[:, kept] for query in self.queries],
        )


@dataclass(frozen=True)
class TrainingFree(Compressor):
    """Settings of every compressor that needs no training.

    levels: tuple of int or "fresh", default (2, 32). Visual tokens for each one that is kept, finest first; 1 keeps
        every token's KVs, "fresh" before it the tokens themselves.
    context: str, default "compressed". What a chunk sees, beside the prompt, of the chunks before it while it is run:
        "compressed" (their KVs at the finest level), "window:N" (all KVs of the last N), "full" (all KVs of all, as
        the model itself would; memory then grows with the video), or "none".
    context_tokens: int or None, tokens; default None, 8192. The prompt and the chunks before it that a chunk sees at
        most, never more than the model's trained context leaves beside the chunk; beyond it the oldest chunks leave.
        A smaller number bounds the accelerator's memory further. "full" has no such bound.
    positions: "contiguous" (default) or "original". Where a chunk and its context stand while it is run, and where
        its KVs stand when they are re-loaded: numbered as if the model had seen no more than that, so that hours of
        video stay within the trained context, or as in the whole video, as a model needs whose positions tell time.
    one_time_from: int or None, ratio, default 8. From this ratio on, of the text among a chunk's visual tokens only
        what stands before the first and behind the last is kept: the first frame's time for all. At finer ratios, and
        at all of them with None, the text is kept; it then makes up most of a coarse level.
    Raises: SettingsError for levels that are not increasing positive numbers, and for values not named here.
    """

    context: str = "compressed"
    context_tokens: int | None = None
    positions: Positions = "contiguous"
    one_time_from: int | None = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"compressed|full|none|window:[1-9][0-9]*", self.context):
            raise SettingsError(f"context {self.context!r} is unknown: pass compressed, window:N, full or none")
        check_context_tokens(self.context_tokens)
        if self.positions not in ("contiguous", "original"):
            raise SettingsError(f"positions {self.positions!r} are unknown: pass contiguous or original")
        if self.one_time_from is not None and self.one_time_from < 2:
            raise SettingsError(f"one_time_from={self.one_time_from} is not a ratio of compression: pass 2 or more")

    @property
    def resumes(self) -> bool:
        """Whether the store has the KVs that make the context: compressed ones, or all where 1 is among the levels."""
        return not self.sees_every_kv or self.ratios[0] == 1

    @property
    def sees_every_kv(self) -> bool:
        """Whether a chunk sees all KVs of earlier chunks rather than those of the finest level."""
        return self.context not in ("compressed", "none")

    @property
    def max_chunks(self) -> int | None:
        """How many earlier chunks a chunk sees at most; None: any number."""
        if self.context == "none":
            return 0
        return int(self.context.removeprefix("window:")) if self.context.startswith("window:") else None

    @property
    def observes(self) -> bool:
        """Whether `reduce` needs the chunk's queries."""
        return False

    def keeps_one_time(self, ratio: int) -> bool:
        """Whether of the text among a chunk's visual tokens a ratio drops all but one time."""
        return self.one_time_from is not None and ratio >= self.one_time_from

    def predicted_tokens(self, tokens: VideoTokens, ratio: int) -> int:
        """About how many KVs of a chunk a ratio keeps."""
        if self.keeps_one_time(ratio):
            tokens = tokens.take((~tokens.is_inner_text).nonzero()[:, 0])
        return super().predicted_tokens(tokens, ratio)

    @abstractmethod
    def reduce(self, chunk: Prefilled, level: int) -> KV:
        """The chunk's KVs at a level, all text among them."""

    def start(self, model: MLLM, prompt: KV) -> TrainingFreeCompression:
        """Begin a video whose prompt KVs are given."""
        return TrainingFreeCompression(self, model, prompt)


def budget(tokens: VideoTokens, level: int) -> int:
    """How many visual tokens of a chunk a level keeps: the nearest whole number, at least 1."""
    visual = int((~tokens.is_text).sum())
    return min(visual, max(1, int(visual / level + 0.5)))


class TrainingFreeCompression(Compression):
    """One video under compression."""

    settings: TrainingFree

    def __init__(self, settings: TrainingFree, model: MLLM, prompt: KV):
        self.settings, self.model, self.prompt = settings, model, prompt
        self.context = Context(
            model,
            prompt,
            max_tokens=None if settings.context == "full" else settings.context_tokens or CONTEXT_TOKENS,
            max_chunks=settings.max_chunks,
            positions=settings.positions,
        )

    def compress(self, tokens: VideoTokens, is_edge: bool) -> dict[int, KV]:
        """Run the next chunk behind its context, then reduce it to every level."""
        self.context.make_room(len(tokens))
        forward = self.context.run(tokens, records_queries=self.settings.observes)
        kv = replace(forward.kv(), positions=tokens.positions)
        chunk = Prefilled(
            model=self.model,
            tokens=tokens,
            kv=kv,
            run_positions=forward.positions,
            queries=forward.queries,
            scales=forward.scales,
            number=self.context.appended,
        )
        with_one_time = chunk.with_one_time() if self.settings.keeps_one_time(self.settings.ratios[-1]) else chunk
        kvs: dict[int, KV] = {}
        for ratio in self.settings.ratios:
            reduced = with_one_time if self.settings.keeps_one_time(ratio) else chunk
            kvs[ratio] = kv if ratio == 1 else self.settings.reduce(reduced, ratio)
        self.context.append(kv if self.settings.sees_every_kv else kvs[self.settings.ratios[0]])
        return kvs

    def restore(self, kvs: Mapping[int, KV], is_text: Tensor, is_edge: bool) -> None:
        """Take a chunk that was compressed before as done."""
        self.context.make_room(len(is_text))
        self.context.append(kvs[self.settings.ratios[0]])

    def decoder_tokens(self, chunk_tokens: list[int]) -> dict[str, int]:
        """Every token once, whatever the levels."""
        return {"single_pass": sum(chunk_tokens)}


@dataclass(frozen=True)
class Eviction(TrainingFree):
    """Keep the best-scored visual tokens of each chunk, the same ones in every layer and head.

    Its settings are those of `TrainingFree`.
    """

    @abstractmethod
    def scores(self, chunk: Prefilled) -> Tensor:
        """How much each of the chunk's tokens is worth keeping, fp32 (n,); those of text tokens are not looked at."""

    def reduce(self, chunk: Prefilled, level: int) -> KV:
        """The text tokens and the best-scored visual ones, in temporal order; ties go to the earlier token."""
        return keep_best(chunk, self.scores(chunk), level)


def keep_best(chunk: Prefilled, scores: Tensor, level: int) -> KV:
    """The KVs of a chunk's text tokens and of the visual ones with the best scores (n,), in temporal order."""
    text = chunk.tokens.is_text
    scores = scores.masked_fill(text, float("-inf"))
    best = scores.sort(descending=True, stable=True).indices[: budget(chunk.tokens, level)]
    return chunk.kv.take(torch.cat([best, text.nonzero()[:, 0]]).sort().values)


@dataclass(frozen=True)
class Averaging(TrainingFree):
    """Average the un-rotated KVs of groups of visual tokens; a group takes the position of one of its members.

    Its settings are those of `TrainingFree`.
    """

    @abstractmethod
    def groups(self, chunk: Prefilled, keys: Tensor, level: int) -> Tensor:
        """For each visual token the representative of its group, (visual tokens,), as an index of visual tokens.

        keys: their un-rotated keys, (n_l, n_h, visual tokens, d_h).
        """

    def reduce(self, chunk: Prefilled, level: int) -> KV:
        """The text tokens as they are, and one KV for each group at its representative's place."""
        text, visual = chunk.tokens.is_text.nonzero()[:, 0], (~chunk.tokens.is_text).nonzero()[:, 0]
        seen = chunk.kv.take(visual)
        group = self.groups(chunk, seen.keys, level)
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
