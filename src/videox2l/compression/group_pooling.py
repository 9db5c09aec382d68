"""Chunked prefill and average pooling of each group's visual KVs: Video-XL-2's bi-level KVs (arXiv 2506.19225).

The video is prefilled once, chunk by chunk, under Video-XL-2's block mask; chunks see the dense KVs of earlier ones. At
level r every run of r visual tokens of a group becomes one KV, time texts stay. Nothing is pooled across groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videox2l.compression.base import Compression, Compressor
from videox2l.compression.context import Context, check_context_tokens
from videox2l.errors import ModelError, SettingsError
from videox2l.models.base import MLLM
from videox2l.models.forward import Visible
from videox2l.models.video_xl_2.adapter import TOKENS_PER_GROUP, VideoXL2
from videox2l.models.video_xl_2.visibility import TEXT, block_visibility
from videox2l.types import KV, VideoTokens, concatenate


@dataclass(frozen=True)
class GroupPooling(Compressor):
    """Settings of the pooling; the defaults are the published ones.

    levels: tuple of int, default (1, 4). Visual tokens of a group pooled into one KV, finest first; 1 is the dense KVs,
        without which an interrupted index can't be gone on with.
    block_groups: int, groups of four frames, default 4. How many make a prefill block.
    previous_blocks: int or None, default 3. How many blocks back visual tokens see visual tokens; fewer make prefill
        faster and the view shorter, None is full causal attention.
    context_tokens: int or None, tokens; default None, what the model's trained context leaves beside a chunk. The
        prompt and the dense KVs that a chunk sees at most; beyond it the oldest chunks' leave. A smaller number bounds
        the accelerator's memory further.
    Raises: SettingsError for levels that are not increasing positive numbers or that a group has not tokens enough
        for, and for blocks of no group.
    """

    levels: tuple[int, ...] = (1, 4)
    block_groups: int = 4
    previous_blocks: int | None = 3
    context_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels[-1] > TOKENS_PER_GROUP:
            raise SettingsError(
                f"level {self.levels[-1]} is not possible: a group of four frames has {TOKENS_PER_GROUP} visual "
                "tokens, and pooling does not cross groups"
            )
        check_context_tokens(self.context_tokens)
        if self.block_groups < 1:
            raise SettingsError(f"block_groups={self.block_groups} is not a number of groups: pass 1 or more")
        if self.previous_blocks is not None and self.previous_blocks < 0:
            raise SettingsError(f"previous_blocks={self.previous_blocks} is negative: pass 0 or more, or None for all")

    @property
    def resumes(self) -> bool:
        """Whether the store has the dense KVs, which every later chunk sees: whether 1 is among the levels."""
        return self.ratios[0] == 1

    def start(self, model: MLLM, prompt: KV) -> GroupCompression:
        """Begin a video whose prompt KVs are given."""
        if not isinstance(model, VideoXL2):
            raise ModelError(f"{model.name} has no groups of frames to pool: choose another compressor, such as pool")
        return GroupCompression(self, model, prompt)


class GroupCompression(Compression):
    """One video under compression: the context of dense KVs, and the prefill block of each of its tokens."""

    settings: GroupPooling

    def __init__(self, settings: GroupPooling, model: VideoXL2, prompt: KV):
        self.settings, self.model, self.prompt = settings, model, prompt
        self.context = Context(model, prompt, max_tokens=settings.context_tokens or model.max_positions)
        self.blocks: list[Tensor] = []  # of each chunk in the context, (n,)
        self.groups = 0

    def compress(self, tokens: VideoTokens, is_edge: bool) -> dict[int, KV]:
        """Run the next chunk's groups, then pool them to every level."""
        self._make_room(tokens.is_text)
        forward = self.context.run(tokens, visible=self._visible(len(tokens)))
        kv = replace(forward.kv(), positions=tokens.positions)
        self.context.append(kv)
        return {level: pool_groups(kv, tokens.is_text, level) for level in self.settings.ratios}

    def restore(self, kvs: Mapping[int, KV], is_text: Tensor, is_edge: bool) -> None:
        """Take a chunk that was compressed before as done."""
        self._make_room(is_text)
        self.context.append(kvs[1])

    def decoder_tokens(self, chunk_tokens: list[int]) -> dict[str, int]:
        """Every token once, whatever the levels."""
        return {"single_pass": sum(chunk_tokens)}

    def _make_room(self, is_text: Tensor) -> None:
        """Let the oldest chunks leave, and number the next chunk's blocks."""
        self.context.make_room(len(is_text))
        del self.blocks[: len(self.blocks) - len(self.context.chunks)]
        visual = (~is_text).cpu()
        groups = self.groups + (visual.cumsum(0) - 1) // TOKENS_PER_GROUP
        self.groups += int(visual.sum()) // TOKENS_PER_GROUP
        self.blocks.append(torch.where(visual, groups // self.settings.block_groups, TEXT))

    def _visible(self, tokens: int) -> tuple[Visible, ...] | None:
        """What each of a chunk's tokens sees, its blocks being the last ones; None: all before them."""
        if self.settings.previous_blocks is None:
            return None
        blocks = torch.cat([torch.full((len(self.prompt),), TEXT), *self.blocks])
        return block_visibility(blocks.to(self.model.device), tokens, self.settings.previous_blocks)


def pool_groups(kv: KV, is_text: Tensor, level: int) -> KV:
    """Average every `level` consecutive visual tokens of a group to one KV, un-rotated; text and level 1 stay as is.

    is_text: (n,). Tokens left over at a group's end are dropped, as published. A pooled KV takes the position of its
    run's first token.
    """
    if level == 1:
        return kv
    text = is_text.nonzero()[:, 0]
    visual = (~is_text).nonzero()[:, 0].unflatten(0, (-1, TOKENS_PER_GROUP))  # (G, 144)
    runs = visual[:, : TOKENS_PER_GROUP // level * level].reshape(-1, level)  # (runs, level)
    keys, values = (
        states[:, :, runs].mean(dim=3)  # (n_l, n_h, runs, level, d_h) -> (n_l, n_h, runs, d_h)
        for states in (kv.keys, kv.values)
    )
    pooled = KV(keys, values, kv.positions[runs[:, 0]])
    order = torch.cat([text, runs[:, 0]]).argsort()
    return concatenate([kv.take(text), pooled]).take(order)
