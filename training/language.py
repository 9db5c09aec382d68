"""The language model in training form: many videos and many questions at once, numerically what inference does.

The modules are those of inference (`videox2l.models.video_xl.model`), so parameters have their final names. Linear
layers run over all chunks of all videos at once. Attention goes chunk by chunk, over the keys [memory | own chunk]:
a chunk's memory is the prompt and the summary tokens of earlier chunks, in every layer at positions 0, 1, ...
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.layout import CHUNK_TOKENS, Placement, span_means, window_mask
from training.tokenizer import SPECIAL
from training.vocabulary import Vocabulary
from videox2l.kv.rope import Rope
from videox2l.models.video_xl.config import VideoXLConfig
from videox2l.models.video_xl.model import SummaryAttention, VideoXLModel
from videox2l.models.video_xl.window import Window
from videox2l.synthesis.questions import LAST_TIME_S, WORD_PATTERN, vocabulary

RATIOS = (2, 4, 8, 16, 32)
VOCABULARY = Vocabulary([*SPECIAL, *vocabulary()], WORD_PATTERN)
FIRST_TIME_ID = VOCABULARY.ids["0:00"]
WAVE_PERIODS_S = tuple(6 * 2**octave for octave in range(10))


def nano_config(hidden: int = 128, layers: int = 4, heads: int = 4, kv_heads: int = 2, mlp: int = 320) -> VideoXLConfig:
    """The configuration of nano at a size."""
    return VideoXLConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=2048,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        eos_token_id=VOCABULARY.ids["</s>"],
        mm_hidden_size=hidden,
        mm_vision_tower="conv",
        mm_vision_select_layer=-1,
        mm_token_norm="rms",
        frame_time_first_token_id=FIRST_TIME_ID,
        frame_time_tokens=LAST_TIME_S,
        beacon_embed_ratios=RATIOS,
        beacon_embed_mean=True,
        beacon_layout="even",
        prompt_before_video="<s>",
        prompt_after_video="{question} <a>",
        prompt_next_turn="{answer} </s> {question} <a>",
    )


@lru_cache
def time_waves() -> Tensor:
    """Sines and cosines of every time that has a word, (times, 2 * periods)."""
    angles = 2 * math.pi * torch.arange(LAST_TIME_S)[:, None] / torch.tensor(WAVE_PERIODS_S)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@dataclass
class Memory:
    """KVs of a batch of videos: keys (un-rotated) and values per layer, (B, n_h, n, d_h), prompt first.

    slices: for every chunk, where its KVs at each ratio stand. prompt_tokens: how many tokens the prompt has.
    """

    keys: list[Tensor]
    values: list[Tensor]
    slices: list[dict[int, slice]]
    prompt_tokens: int

    def choose(self, levels: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
        """Keys and values of every layer with one ratio chosen for each chunk, in temporal order."""
        spans = [slice(0, self.prompt_tokens)]
        spans += [chunk.get(level, chunk[min(chunk)]) for chunk, level in zip(self.slices, levels, strict=True)]
        index = torch.cat([torch.arange(span.start, span.stop) for span in spans])
        return [keys[:, :, index] for keys in self.keys], [values[:, :, index] for values in self.values]


class LanguageModel(nn.Module):
    """The decoder with its word table.

    The m:ss rows are sums of a minute, a tens and a ones row, so that all times are learned together, and of waves, so
    that close times are alike: what finds a moment or tells which of two came first.
    """

    def __init__(self, config: VideoXLConfig):
        super().__init__()
        self.config = config
        self.decoder = VideoXLModel(config)
        del self.decoder.embed_tokens
        hidden = config.hidden_size
        self.words = nn.Parameter(torch.randn(FIRST_TIME_ID, hidden) * 0.2)
        self.minutes = nn.Parameter(torch.randn(LAST_TIME_S // 60, hidden) * 0.2)
        self.tens = nn.Parameter(torch.randn(6, hidden) * 0.2)
        self.ones = nn.Parameter(torch.randn(10, hidden) * 0.2)
        self.waves = nn.Parameter(torch.randn(2 * len(WAVE_PERIODS_S), hidden) * 0.1)
        self.rope = Rope(config.head_dim, config.rope_theta, torch.get_default_device())
        for name, parameter in self.decoder.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2 and "embed" not in name:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
                if "o_proj" in name or "down_proj" in name:
                    parameter.data *= 0.3
        nn.init.normal_(self.decoder.beacon_embed_tokens.weight, std=0.2)
        for layer in self.decoder.layers:  # summary tokens start as raw tokens
            attention = layer.self_attn
            attention.beacon_q_proj.load_state_dict(attention.q_proj.state_dict())
            attention.beacon_k_proj.load_state_dict(attention.k_proj.state_dict())
            attention.beacon_v_proj.load_state_dict(attention.v_proj.state_dict())

    def word_table(self) -> Tensor:
        """The tied embedding (vocabulary, hidden)."""
        times = self.minutes[:, None, None] + self.tens[:, None] + self.ones
        return torch.cat([self.words, times.flatten(0, 2) + time_waves() @ self.waves])

    def prompt(self, table: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Keys and values per layer, (1, n_h, 1, d_h), of the one token before the video."""
        token = torch.tensor([[[VOCABULARY.ids["<s>"]]]])
        nothing = table.new_zeros(1, self.config.num_key_value_heads, 0, self.config.head_dim)
        memory = [nothing] * len(self.decoder.layers)
        return self._read(table, (memory, memory), token)[1:]

    def watch(self, table: Tensor, visual: Tensor, start_s: Tensor, windows: Sequence[Window]) -> Memory:
        """Compress videos.

        visual: (B, chunks, frames, 4, hidden) tokens without time; start_s: (B,) whole seconds of the first frame;
        windows: the layout of each chunk, alike in all videos.
        """
        batch, chunks, frames = visual.shape[:3]
        seconds = start_s[:, None] + torch.arange(chunks * frames)
        times = table[FIRST_TIME_ID + seconds].unflatten(1, (chunks, frames))
        raw = (visual + times[:, :, :, None]).flatten(2, 3)  # (B, chunks, 40, hidden)
        summaries = [part for chunk, layout in enumerate(windows) for part in self._summaries(raw[:, chunk], layout)]
        hidden = torch.cat([raw.flatten(1, 2), *summaries], dim=1)  # [raw of all chunks | summaries of all chunks]
        place = Placement(windows, prompt_tokens=1)
        prompt_keys, prompt_values = self.prompt(table)
        kept_keys, kept_values = [], []
        last = len(self.decoder.layers) - 1
        for depth, layer in enumerate(self.decoder.layers):
            attention, normed = layer.self_attn, layer.input_layernorm(hidden)
            if depth == last:  # the last layer's KVs are all that is left to make
                split = place.raw_tokens if place.keeps_raw else 0
                kept_keys.append(self._keys(attention, normed, split))
                kept_values.append(self._values(attention, normed, split))
                break
            keys = self._keys(attention, normed, place.raw_tokens)
            values = self._values(attention, normed, place.raw_tokens)
            kept_keys.append(keys[:, :, place.kept])
            kept_values.append(values[:, :, place.kept])
            # The layer before the last need not compute raw tokens that no KV is kept of.
            first_query = place.raw_tokens if depth == last - 1 and not place.keeps_raw else 0
            query = self._queries(attention, normed[:, first_query:], place.raw_tokens - first_query)
            attended = self._attend_by_chunk(
                place,
                self.rope(query, place.positions[first_query:]),
                (self.rope(keys, place.positions), values),
                (
                    self.rope(
                        torch.cat([prompt_keys[depth].expand(batch, -1, -1, -1), keys[:, :, place.main]], 2),
                        torch.arange(len(place.main) + 1),
                    ),
                    torch.cat([prompt_values[depth].expand(batch, -1, -1, -1), values[:, :, place.main]], 2),
                ),
                first_query,
            )
            hidden = layer.feed_forward(hidden[:, first_query:] + attention.o_proj(attended))
        return Memory(
            [torch.cat([p.expand(batch, -1, -1, -1), k], 2) for p, k in zip(prompt_keys, kept_keys, strict=True)],
            [torch.cat([p.expand(batch, -1, -1, -1), v], 2) for p, v in zip(prompt_values, kept_values, strict=True)],
            place.kept_slices,
            1,
        )

    def read(self, table: Tensor, memory: tuple[list[Tensor], list[Tensor]], ids: Tensor) -> Tensor:
        """Final states (B, Q, n, hidden) of questions (B, Q, n), each behind its video's chosen KVs."""
        return self.decoder.norm(self._read(table, memory, ids)[0]).unflatten(1, ids.shape[1:])

    def _read(
        self, table: Tensor, memory: tuple[list[Tensor], list[Tensor]], ids: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        questions, length = ids.shape[1:]
        hidden = table[ids].flatten(1, 2)  # (B, Q * n, hidden)
        past = memory[0][0].shape[2]
        positions = past + torch.arange(length).repeat(questions)
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        mask = torch.cat(
            [
                torch.ones(questions * length, past, dtype=torch.bool),
                torch.block_diag(*[causal] * questions).bool(),
            ],
            1,
        )
        all_keys, all_values = [], []
        for layer, past_keys, past_values in zip(self.decoder.layers, *memory, strict=True):
            attention, normed = layer.self_attn, layer.input_layernorm(hidden)
            query = self._queries(attention, normed, questions * length)
            keys = self._keys(attention, normed, questions * length)
            values = self._values(attention, normed, questions * length)
            all_keys.append(keys)
            all_values.append(values)
            attended = attend(
                self.rope(query, positions),
                torch.cat([self.rope(past_keys, torch.arange(past)), self.rope(keys, positions)], 2),
                torch.cat([past_values, values], 2),
                mask,
            )
            hidden = layer.feed_forward(hidden + attention.o_proj(attended))
        return hidden, all_keys, all_values

    def _summaries(self, raw: Tensor, layout: Window) -> list[Tensor]:
        """Inputs of a chunk's summary tokens, for each ratio (B, summaries, hidden), from raw (B, 40, hidden)."""
        parts = []
        for ratio, ends in ((layout.ratio, layout.ends), *layout.extra.items()):
            if not ends:
                continue
            row = self.decoder.beacon_embed_tokens.weight[RATIOS.index(ratio)]
            parts.append(row + torch.einsum("sn,bnd->bsd", span_means(ends), raw))
        return parts

    def _queries(self, attention: SummaryAttention, states: Tensor, raw_tokens: int) -> Tensor:
        """Un-rotated queries (B, heads, n, d_h) of states (B, n, hidden), raw tokens first and then summaries."""
        return self._project(attention.q_proj, attention.beacon_q_proj, states, raw_tokens)

    def _keys(self, attention: SummaryAttention, states: Tensor, raw_tokens: int) -> Tensor:
        """The same for keys, (B, n_h, n, d_h)."""
        return self._project(attention.k_proj, attention.beacon_k_proj, states, raw_tokens)

    def _values(self, attention: SummaryAttention, states: Tensor, raw_tokens: int) -> Tensor:
        """The same for values, (B, n_h, n, d_h)."""
        return self._project(attention.v_proj, attention.beacon_v_proj, states, raw_tokens)

    def _project(self, ordinary: nn.Linear, summary: nn.Linear, states: Tensor, raw_tokens: int) -> Tensor:
        parts = []
        if raw_tokens:
            parts.append(ordinary(states[:, :raw_tokens]))
        if raw_tokens < states.shape[1]:
            parts.append(summary(states[:, raw_tokens:]))
        projected = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        return projected.unflatten(2, (-1, self.config.head_dim)).transpose(1, 2)  # -> (B, heads, n, d_h)

    def _attend_by_chunk(
        self,
        place: Placement,
        query: Tensor,
        own: tuple[Tensor, Tensor],
        memory: tuple[Tensor, Tensor],
        first_query: int,
    ) -> Tensor:
        """Attention output (B, n, heads * d_h) of the queries from first_query on."""
        raw_out, summary_out = [], []
        for chunk, layout in enumerate(place.windows):
            raw, summaries, past = place.raw[chunk], place.summaries[chunk], place.memory_tokens[chunk]
            keys, values = (
                torch.cat([memory[i][:, :, :past], own[i][:, :, raw], own[i][:, :, summaries]], 2) for i in range(2)
            )
            asking = query[:, :, summaries.start - first_query : summaries.stop - first_query]
            mask = window_mask(layout.ratio, tuple(layout.extra), past)
            if first_query == 0:
                asking = torch.cat([query[:, :, raw], asking], 2)
            else:
                mask = mask[CHUNK_TOKENS:]
            out = attend(asking, keys, values, mask)
            if first_query == 0:
                raw_out.append(out[:, :CHUNK_TOKENS])
                out = out[:, CHUNK_TOKENS:]
            summary_out.append(out)
        return torch.cat(raw_out + summary_out, 1)


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """(B, heads, n, d_h) queries over (B, n_h, m, d_h) keys under a mask (n, m) -> (B, n, heads * d_h)."""
    groups = query.shape[1] // keys.shape[1]
    keys, values = (states.repeat_interleave(groups, dim=1) for states in (keys, values))
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask).transpose(1, 2).flatten(2)
