"""The language model in training form: many videos and many questions at once, numerically what the class does.

The modules are those of transformers' Qwen3VLTextModel, so parameters have their final names. A video is run once,
causally; then many conversations are read behind its keys and values, each blind to the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextAttention,
    Qwen3VLTextDecoderLayer,
    Qwen3VLTextModel,
    apply_rotary_pos_emb,
)

from training.qwen.tokenizer import VOCABULARY
from videox2l.synthesis.questions import LAST_TIME_S

FIRST_CLOCK_ID = VOCABULARY.ids["0:00"]
FIRST_WRITTEN_ID = VOCABULARY.ids["<0"]
PROMPT = [VOCABULARY.ids["<|im_start|>"], VOCABULARY.ids["user"]]
HALF_SECOND, VISION_START, VISION_END = (
    VOCABULARY.ids[token] for token in (".5 seconds>", "<|vision_start|>", "<|vision_end|>")
)
SHORT = 600
"""Tokens up to which a video's attention is computed by plain products."""
TIMED_DEPTH = 2
"""Layers behind which visual tokens are to know their time."""
WAVE_PERIODS_S = tuple(4 * 2**octave for octave in range(12))


def text_config(hidden: int = 128, layers: int = 5, heads: int = 4, mlp: int = 352) -> Qwen3VLTextConfig:
    """The decoder of nano-qwen at a size; there are half as many KV heads as heads, each of 48."""
    return Qwen3VLTextConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=48,
        max_position_embeddings=16384,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 1e8,  # half of a head hardly turns over the positions of an hour, and can tell contents apart
            "mrope_section": [8, 8, 8],
            "mrope_interleaved": True,
        },
        pad_token_id=VOCABULARY.ids["<pad>"],
        eos_token_id=VOCABULARY.ids["<|im_end|>"],
        bos_token_id=None,
        tie_word_embeddings=True,
    )


@lru_cache
def time_waves() -> Tensor:
    """Sines and cosines of every second that has a word, (seconds, 2 * periods)."""
    angles = 2 * math.pi * torch.arange(LAST_TIME_S)[:, None] / torch.tensor(WAVE_PERIODS_S)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@dataclass
class Memory:
    """A batch of videos, prefilled.

    keys, values: of every layer, (B, n_h, n, d_h), keys rotated. next_position: the one behind them. early: states of
    the visual tokens behind the first TIMED_DEPTH layers, (B, pairs, tokens, hidden).
    """

    keys: list[Tensor]
    values: list[Tensor]
    next_position: int
    early: Tensor


def video_positions(pairs: int, rows: int, columns: int, gaps: list[int]) -> tuple[Tensor, int]:
    """M-RoPE positions (3, n) of the prompt and of pairs of frames behind their times, and the position behind them.

    gaps: positions left out before each pair.
    """
    parts = [torch.arange(len(PROMPT)).expand(3, -1)]
    following = len(PROMPT)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    for pair in range(pairs):
        following += gaps[pair]
        start = following + 3
        end = start + max(rows, columns)
        parts += [
            torch.arange(following, start).expand(3, -1),
            torch.stack([torch.full_like(row, start), start + row, start + column]).flatten(1),
            torch.full((3, 1), end),
        ]
        following = end + 1
    return torch.cat(parts, dim=1), following


class LanguageModel(nn.Module):
    """The class's decoder with its word table.

    The rows of times are sums of a minute, a tens and a ones row, so that all times are learned together, and of waves,
    so that close times are alike; "1:37" and "<97" differ by one row that all written times share.
    """

    def __init__(self, config: Qwen3VLTextConfig):
        super().__init__()
        self.config = config
        self.decoder = Qwen3VLTextModel(config)
        del self.decoder.embed_tokens
        hidden = config.hidden_size
        self.words = nn.Parameter(torch.randn(FIRST_CLOCK_ID, hidden) * 0.2)
        self.minutes = nn.Parameter(torch.randn(LAST_TIME_S // 60, hidden) * 0.1)
        self.tens = nn.Parameter(torch.randn(6, hidden) * 0.1)
        self.ones = nn.Parameter(torch.randn(10, hidden) * 0.1)
        self.waves = nn.Parameter(torch.randn(2 * len(WAVE_PERIODS_S), hidden) * 0.06)
        self.written = nn.Parameter(torch.randn(hidden) * 0.2)
        for name, parameter in self.decoder.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
                if "o_proj" in name or "down_proj" in name:
                    parameter.data *= 0.3
            elif "q_norm" in name:  # sharp enough from the start to pick one of a thousand keys
                nn.init.constant_(parameter, 1.5)

    def word_table(self) -> Tensor:
        """The tied embedding (vocabulary, hidden)."""
        sums = (self.minutes[:, None, None] + self.tens[:, None] + self.ones).flatten(0, 2)
        times = sums + time_waves().to(sums.device) @ self.waves
        return torch.cat([self.words, times, times + self.written])

    def watch(
        self, table: Tensor, visual: Tensor, start_s: Tensor, grid: tuple[int, int], gaps: list[int] | None = None
    ) -> Memory:
        """Prefill videos of a frame a second.

        visual: (B, pairs, 1 + depths, tokens, hidden), DeepStack's features last.
        start_s: (B,) whole seconds of the first frame.
        grid: rows and columns of a pair's tokens.
        gaps: positions left out before each pair; none by default.
        """
        batch, pairs, depths = visual.shape[:3]
        written = FIRST_WRITTEN_ID + start_s[:, None] + 2 * torch.arange(pairs)  # (B, pairs)
        half, opens, ends = (table[i].expand(batch, pairs, 1, -1) for i in (HALF_SECOND, VISION_START, VISION_END))
        behind = torch.cat([table[written][:, :, None], half, opens, visual[:, :, 0], ends], dim=2)
        prompt = table[torch.tensor(PROMPT)].expand(batch, -1, -1)
        hidden = torch.cat([prompt, behind.flatten(1, 2)], dim=1)  # (B, n, hidden)
        deep = F.pad(visual[:, :, 1:], (0, 0, 3, 1))  # (B, pairs, depths, 3 + tokens + 1, hidden)
        deep = F.pad(deep.transpose(1, 2).flatten(2, 3), (0, 0, len(PROMPT), 0))  # (B, depths, n, hidden)
        positions, following = video_positions(pairs, *grid, gaps or [0] * pairs)
        rotation = self.decoder.rotary_emb(hidden, positions[:, None])
        length = hidden.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril() if length <= SHORT else None
        keys, values = [], []
        last = len(self.decoder.layers) - 1
        for depth, layer in enumerate(self.decoder.layers):
            attention, normed = layer.self_attn, layer.input_layernorm(hidden)
            key, value = self._key_value(attention, normed, rotation)
            keys.append(key)
            values.append(value)
            if depth == last:
                break
            query = self._query(attention, normed, rotation)
            hidden = self._finish(layer, hidden, attend(query, key, value, causal))
            if depth < depths - 1:
                hidden = hidden + deep[:, depth]
            if depth == TIMED_DEPTH - 1:
                early = hidden[:, len(PROMPT) :].unflatten(1, (pairs, -1))[:, :, 3:-1]
        return Memory(keys, values, following, early)

    def nothing_watched(self, batch: int) -> Memory:
        """The memory of no video at all, for so many readers."""
        none = [torch.zeros(batch, self.config.num_key_value_heads, 0, self.config.head_dim)] * len(self.decoder.layers)
        return Memory(none, none, 0, torch.zeros(batch, 0, 0, self.config.hidden_size))

    def time_loss(self, table: Tensor, early: Tensor, start_s: Tensor) -> Tensor:
        """How badly early states (B, pairs, tokens, hidden) of visual tokens tell the time that stands before them.

        The logits are made small, so that the time has to be a large part of the state: keys are to be told by it.
        """
        times = table[FIRST_CLOCK_ID:FIRST_WRITTEN_ID]
        truth = start_s[:, None] + 2 * torch.arange(early.shape[1])  # (B, pairs)
        logits = 0.3 * F.rms_norm(early.float(), early.shape[-1:]) @ times.float().T
        return F.cross_entropy(logits.flatten(0, 2), truth[..., None].expand(logits.shape[:3]).flatten())

    def read(self, table: Tensor, memory: Memory, ids: Tensor, segments: Tensor, offsets: Tensor) -> Tensor:
        """Final states (B, n, hidden) of conversations packed one behind the other, each behind its video.

        ids: (B, n). segments: which conversation a token is of, (B, n). offsets: its place in it, (B, n).
        """
        hidden = table[ids]
        rotation = self.decoder.rotary_emb(hidden, (memory.next_position + offsets)[None])
        past = memory.keys[0].shape[2]
        own = (segments[:, :, None] == segments[:, None]) & (offsets[:, :, None] >= offsets[:, None])
        mask = F.pad(own, (past, 0), value=True)[:, None]  # (B, 1, n, past + n)
        for layer, keys, values in zip(self.decoder.layers, memory.keys, memory.values, strict=True):
            attention, normed = layer.self_attn, layer.input_layernorm(hidden)
            key, value = self._key_value(attention, normed, rotation)
            query = self._query(attention, normed, rotation)
            attended = attend(query, torch.cat([keys, key], 2), torch.cat([values, value], 2), mask)
            hidden = self._finish(layer, hidden, attended)
        return self.decoder.norm(hidden)

    def _query(self, attention: Qwen3VLTextAttention, normed: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Rotated queries (B, heads, n, d_h)."""
        query = attention.q_norm(attention.q_proj(normed).unflatten(2, (-1, attention.head_dim))).transpose(1, 2)
        return apply_rotary_pos_emb(query, query, *rotation)[0]

    def _key_value(
        self, attention: Qwen3VLTextAttention, normed: Tensor, rotation: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Rotated keys, and values, (B, n_h, n, d_h)."""
        key = attention.k_norm(attention.k_proj(normed).unflatten(2, (-1, attention.head_dim))).transpose(1, 2)
        value = attention.v_proj(normed).unflatten(2, (-1, attention.head_dim)).transpose(1, 2)
        return apply_rotary_pos_emb(key, key, *rotation)[0], value

    def _finish(self, layer: Qwen3VLTextDecoderLayer, hidden: Tensor, attended: Tensor) -> Tensor:
        """The rest of a layer behind its attention."""
        hidden = hidden + layer.self_attn.o_proj(attended)
        return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """(B, heads, n, d_h) queries over (B, n_h, m, d_h) keys -> (B, n, heads * d_h).

    mask: what each query sees; None is causal, by torch's fused attention, which on CPUs in bf16 is half as fast as
    plain products where either will do.
    """
    groups = query.shape[1] // keys.shape[1]
    keys, values = (states.repeat_interleave(groups, dim=1) for states in (keys, values))
    if mask is None:
        attended = F.scaled_dot_product_attention(query, keys, values, is_causal=True)
    else:
        scores = (query @ keys.transpose(2, 3)) * query.shape[-1] ** -0.5
        attended = scores.masked_fill(~mask, float("-inf")).softmax(-1).to(values.dtype) @ values
    return attended.transpose(1, 2).flatten(2)
