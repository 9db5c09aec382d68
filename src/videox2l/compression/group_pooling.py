"""Chunked prefill and average pooling of each group's visual KVs: Video-XL-2's bi-level KVs (arXiv 2506.19225).

The video is prefilled once, chunk by chunk, under Video-XL-2's block mask. A chunk's dense KVs are its finest level;
at level r every run of r visual tokens of a group becomes one KV, time texts stay. Nothing is pooled across groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videox2l.compression.base import Compression, Compressor
from videox2l.errors import ModelError, SettingsError
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.models.video_xl_2.adapter import TOKENS_PER_GROUP, VideoXL2
from videox2l.models.video_xl_2.visibility import TEXT
from videox2l.types import KV, VideoTokens, concatenate


@dataclass(frozen=True)
class GroupPooling(Compressor):
    """Settings of the pooling; the defaults are the published ones.

    levels, edge_ratio: as for every compressor; the finest level is 1, the dense KVs.
    block_groups: groups (of four frames) in a prefill block. previous_blocks: how many blocks back visual tokens see
        visual tokens; None is full causal attention.
    context_tokens: how many tokens of memory a chunk sees; beyond it the oldest chunks leave, the prompt stays. None
        is what the model's trained context leaves. It bounds memory whatever the video's length.
    Raises: SettingsError for levels that do not start at 1, or that a group has not tokens enough for, and for blocks
        of no group.
    """

    levels: tuple[int, ...] = (1, 4)
    block_groups: int = 4
    previous_blocks: int | None = 3
    context_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels[0] != 1:
            raise SettingsError(f"levels {self.levels} do not start with the dense KVs: pass 1 first, as in 1,4")
        if self.levels[-1] > TOKENS_PER_GROUP:
            raise SettingsError(
                f"level {self.levels[-1]} is not possible: a group of four frames has {TOKENS_PER_GROUP} visual "
                "tokens, and pooling does not cross groups"
            )
        if self.block_groups < 1:
            raise SettingsError(f"block_groups={self.block_groups} is not a number of groups: pass 1 or more")
        if self.previous_blocks is not None and self.previous_blocks < 0:
            raise SettingsError(f"previous_blocks={self.previous_blocks} is negative: pass 0 or more, or None for all")

    def start(self, model: MLLM, prompt: KV) -> GroupCompression:
        """Begin a video whose prompt KVs are given."""
        if not isinstance(model, VideoXL2):
            raise ModelError(f"{model.name} has no groups of frames to pool: choose another compressor, as pool")
        return GroupCompression(self, model, prompt)


class GroupCompression(Compression):
    """One video under compression: the dense KVs of the chunks so far, and the prefill block of each token."""

    settings: GroupPooling

    def __init__(self, settings: GroupPooling, model: VideoXL2, prompt: KV):
        self.settings, self.model, self.prompt = settings, model, prompt
        self.cache = model.new_cache(len(prompt))
        self.cache.append(prompt)
        self.memory: list[tuple[KV, Tensor]] = []  # dense KVs of each chunk, and their blocks (n,)
        self.groups = 0

    def compress(self, tokens: VideoTokens, is_edge: bool) -> dict[int, KV]:
        """Run the next chunk's groups, then pool them to every level."""
        self._make_room(len(tokens))
        blocks = self._blocks(tokens.is_text)
        if self.settings.previous_blocks is None:
            forward = Forward.behind(self.cache, len(tokens), records_kv=True)
            self.model.run(tokens.embeddings, forward)
            kv = replace(forward.kv(), positions=tokens.positions)
        else:
            prompt_blocks = torch.full((len(self.prompt),), TEXT)
            all_blocks = torch.cat([prompt_blocks, *(held for _, held in self.memory), blocks])
            kv = self.model.prefill_blocks(tokens, self.cache, all_blocks, self.settings.previous_blocks)
        self.memory.append((kv, blocks))
        ratios = {level: self.settings.ratio(level, is_edge) for level in self.settings.levels}
        pooled = {ratio: pool_groups(kv, tokens.is_text, ratio) for ratio in set(ratios.values())}
        return {level: pooled[ratio] for level, ratio in ratios.items()}

    def restore(self, kvs: Mapping[int, KV], is_text: Tensor, is_edge: bool) -> None:
        """Take a chunk that was compressed before as done."""
        kv = kvs[1].to(self.model.device)
        self._make_room(len(kv))
        self.memory.append((kv, self._blocks(is_text)))
        self.cache.append(kv)

    def decoder_tokens(self, chunk_tokens: list[int]) -> dict[str, int]:
        """Every token once, whatever the levels."""
        return {"single_pass": sum(chunk_tokens)}

    def _make_room(self, tokens: int) -> None:
        """Let the oldest chunks leave a memory that is over its bound; the others are numbered anew."""
        limit = self.settings.context_tokens or self.model.max_positions - tokens
        held = len(self.memory)
        while self.memory and len(self.prompt) + sum(len(kv) for kv, _ in self.memory) > limit:
            del self.memory[0]
        if len(self.memory) < held:
            self.cache.clear()
            for kv in (self.prompt, *(kv for kv, _ in self.memory)):
                self.cache.append(kv)

    def _blocks(self, is_text: Tensor) -> Tensor:
        """The prefill block of each of a chunk's tokens, (n,); counts its groups as done."""
        visual = (~is_text).cpu()
        groups = self.groups + (visual.cumsum(0) - 1) // TOKENS_PER_GROUP
        self.groups += int(visual.sum()) // TOKENS_PER_GROUP
        return torch.where(visual, groups // self.settings.block_groups, TEXT)


def pool_groups(kv: KV, is_text: Tensor, ratio: int) -> KV:
    """Average every `ratio` consecutive visual tokens of a group to one KV, un-rotated; text and ratio 1 stay as is.

    is_text: (n,). Tokens left over at a group's end are dropped, as published. A pooled KV takes the position of its
    run's first token.
    """
    if ratio == 1:
        return kv
    text = is_text.nonzero()[:, 0]
    visual = (~is_text).nonzero()[:, 0].unflatten(0, (-1, TOKENS_PER_GROUP))  # (G, 144)
    runs = visual[:, : TOKENS_PER_GROUP // ratio * ratio].reshape(-1, ratio)  # (runs, ratio)
    keys, values = (
        states[:, :, runs].mean(dim=3)  # (n_l, n_h, runs, ratio, d_h) -> (n_l, n_h, runs, d_h)
        for states in (kv.keys, kv.values)
    )
    pooled = KV(keys, values, kv.positions[runs[:, 0]])
    order = torch.cat([text, runs[:, 0]]).argsort()
    return concatenate([kv.take(text), pooled]).take(order)
