"""Positions have one meaning: a chunk is run where they say, behind a context that stands where they say.

With nothing dropped, a chunk's KVs are then those of transformers' own decoder over the tokens that the chunk sees, at
these positions. The positions are written down here once more, family by family, and not taken from the adapters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from chunks import VIDEO
from torch import Tensor
from transformers import AutoModelForImageTextToText, DynamicCache
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from videox2l import VideoX2L
from videox2l.compression.base import Compressor
from videox2l.compression.keydiff import KeyDiff
from videox2l.compression.pool import Pool
from videox2l.compression.registry import compressor_for
from videox2l.errors import SettingsError
from videox2l.models.base import MLLM
from videox2l.models.load import load_model
from videox2l.testing import tiny_models
from videox2l.types import KV, ChunkPlace, Frames, VideoTokens, concatenate

FAMILIES = ["llava_onevision", "internvl", "qwen2_5_vl", "qwen3_vl"]
FRAMES_S = (0.0, 1.0, 2.0, 3.0, 7.0, 8.0, 9.0, 10.0, 30.0, 31.0, 32.0, 33.0)
"""Frames at uneven times, in chunks of four: gaps that positions in seconds show."""


class Reference:
    """transformers' own decoder of a checkpoint, and every layer's un-rotated keys and values of what it ran."""

    def __init__(self, directory: Path):
        model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
        self.embed, self.decoder = model.get_input_embeddings(), model.get_decoder()

    @contextmanager
    def recorded(self) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        """What the layers make while this is open, (n_h, n, d_h) each, keys before they are rotated."""
        keys: list[Tensor] = []
        values: list[Tensor] = []
        hooks = []
        for layer in self.decoder.layers:
            attention = layer.self_attn
            for module, made in ((getattr(attention, "k_norm", attention.k_proj), keys), (attention.v_proj, values)):

                def note(_, __, states: Tensor, made=made, size=attention.head_dim) -> None:
                    made.append(states[0].reshape(states.shape[1], -1, size).transpose(0, 1))

                hooks.append(module.register_forward_hook(note))
        yield keys, values
        for hook in hooks:
            hook.remove()

    def run(self, tokens: Tokens, past: KV | None = None) -> KV:
        """Un-rotated KVs of tokens, behind others whose KVs are given."""
        cache, before = None, 0
        if past is not None:
            cache, before = DynamicCache(config=self.decoder.config), past.positions.shape[-1]
            cos, sin = self.decoder.rotary_emb(past.keys[:1], past.positions[..., None, :])
            for layer, (keys, values) in enumerate(zip(past.keys, past.values, strict=True)):
                cache.update(apply_rotary_pos_emb(keys[None], keys[None], cos, sin)[1], values[None], layer)
        deep: dict[str, Any] = {}
        if tokens.deepstack is not None:
            deep["visual_pos_masks"] = torch.ones(1, len(tokens.embeddings), dtype=torch.bool)
            deep["deepstack_visual_embeds"] = list(tokens.deepstack)
        with self.recorded() as (keys, values), torch.no_grad():
            self.decoder(
                inputs_embeds=tokens.embeddings[None],
                position_ids=tokens.positions[..., None, :],
                attention_mask=torch.ones(1, before + len(tokens.embeddings), dtype=torch.long),
                past_key_values=cache,
                **deep,
            )
        return KV(torch.stack(keys), torch.stack(values), tokens.positions)


@dataclass
class Tokens:
    """A run of tokens for the reference."""

    positions: Tensor
    embeddings: Tensor
    deepstack: Tensor | None


def joined(parts: list[Tokens]) -> Tokens:
    """Tokens one behind the other."""
    deepstacks = [part.deepstack for part in parts if part.deepstack is not None]
    assert len(deepstacks) in (0, len(parts))
    return Tokens(
        torch.cat([part.positions for part in parts], dim=-1),
        torch.cat([part.embeddings for part in parts]),
        torch.cat(deepstacks, dim=1) if deepstacks else None,
    )


def behind(family: str, positions: Tensor, before: Tensor) -> Tensor:
    """Where a chunk stands that comes right behind others; nothing of it was dropped, so its inside stays as it is."""
    if family == "qwen2_5_vl":  # one time after the other, rows and columns where they are in every frame
        times = sorted(set(positions[0].tolist()))
        now = [int(before[0].max()) + 1 + times.index(time) for time in positions[0].tolist()]
        return torch.stack([torch.tensor(now), *positions[1:]])
    return positions - int(positions.min()) + int(before.max()) + 1


@pytest.fixture(scope="module", params=FAMILIES)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(request.param, tmp_path_factory.mktemp("models") / request.param)


@pytest.fixture(scope="module")
def model(directory: Path) -> MLLM:
    return load_model(directory, device="cpu")


@pytest.fixture(scope="module")
def reference(directory: Path) -> Reference:
    return Reference(directory)


@pytest.fixture(scope="module")
def chunks(model: MLLM) -> list[VideoTokens]:
    generator = torch.Generator().manual_seed(0)
    place, made = len(model.prompt_ids(VIDEO)), []
    for first in range(0, len(FRAMES_S), 4):
        pixels = torch.randint(0, 256, (4, 3, 56, 84), dtype=torch.uint8, generator=generator)
        frames = Frames(pixels, torch.tensor(FRAMES_S[first : first + 4], dtype=torch.float64))
        with torch.no_grad():
            made.append(model.visual_tokens(frames, ChunkPlace(VIDEO, first, place, first + 4 == len(FRAMES_S))))
        place = int(made[-1].positions.max()) + 1
    return made


@torch.no_grad()
def compress(model: MLLM, compressor: Compressor, chunks: list[VideoTokens]) -> list[KV]:
    compression = compressor.start(model, model.prompt_kv(VIDEO))
    return [compression.compress(tokens, False)[1] for tokens in chunks]


def reference_prompt(reference: Reference, model: MLLM, chunks: list[VideoTokens]) -> Tokens:
    ids, first = model.prompt_ids(VIDEO), chunks[0]
    positions = torch.arange(len(ids))
    embeddings = reference.embed(ids).detach()
    deepstack = None if first.deepstack is None else torch.zeros(len(first.deepstack), *embeddings.shape)
    return Tokens(positions.expand(3, -1) if first.positions.ndim == 2 else positions, embeddings, deepstack)


def check(kv: KV, expected: KV, tokens: VideoTokens) -> None:
    torch.testing.assert_close(kv.keys, expected.keys, atol=1e-4, rtol=0)
    torch.testing.assert_close(kv.values, expected.values, atol=1e-4, rtol=0)
    assert torch.equal(kv.positions, tokens.positions)  # what is stored, however the chunk was run


@pytest.mark.parametrize("positions", ["contiguous", "original"])
@pytest.mark.parametrize("context", ["compressed", "full", "none"])
def test_a_chunks_kvs_are_the_decoders_own_over_the_tokens_it_sees(
    directory, model, reference, chunks, context, positions
):
    """One forward of transformers over prompt, visible chunks and the chunk."""
    kvs = compress(model, KeyDiff((1,), context=context, positions=positions), chunks)
    prompt = reference_prompt(reference, model, chunks)
    for number, tokens in enumerate(chunks):
        seen = [prompt]
        for other in [tokens] if context == "none" else chunks[: number + 1]:
            stands = other.positions
            if positions == "contiguous":
                stands = behind(directory.name, other.positions, seen[-1].positions)
            seen.append(Tokens(stands, other.embeddings, other.deepstack))
        whole = reference.run(joined(seen))
        check(kvs[number], whole.take(torch.arange(len(whole))[-len(tokens) :]), tokens)


@pytest.mark.parametrize("positions", ["contiguous", "original"])
def test_a_chunk_in_a_window_sees_the_kvs_of_the_last_chunks_where_they_stand_now(
    directory, model, reference, chunks, positions
):
    """They were made behind chunks that have left since: transformers' cache is filled with them, rotated anew."""
    kvs = compress(model, KeyDiff((1,), context="window:1", positions=positions), chunks)
    past = [reference.run(reference_prompt(reference, model, chunks))]
    for number, tokens in enumerate(chunks):
        stands = tokens.positions
        if positions == "contiguous":
            stands = behind(directory.name, tokens.positions, past[-1].positions)
        made = reference.run(Tokens(stands, tokens.embeddings, tokens.deepstack), concatenate(past))
        check(kvs[number], made, tokens)
        stands = tokens.positions
        if positions == "contiguous":  # behind the prompt, as the only chunk that is still seen
            stands = behind(directory.name, tokens.positions, past[0].positions)
        past = [past[0], replace(made, positions=stands)]


def test_positions_matter_where_a_model_could_tell(directory, model, chunks):
    """Else the tests above could not fail: the last chunk's keys differ by more than any rounding."""
    for context in ("compressed", "none"):
        made = [
            compress(model, KeyDiff((1,), context=context, positions=p), chunks) for p in ("contiguous", "original")
        ]
        difference = float((made[0][-1].keys - made[1][-1].keys).abs().max())
        tells = context == "none" or directory.name == "qwen2_5_vl"
        assert difference > 0.01 if tells else difference < 1e-4


def test_a_model_whose_positions_tell_time_keeps_them_by_default(model):
    expected = "original" if model.model_type == "qwen2_5_vl" else "contiguous"
    assert VideoX2L(model).compressor.positions == expected
    assert compressor_for(model, "pool").positions == expected
    for positions in ("contiguous", "original"):
        assert compressor_for(model, "pool", positions=positions).positions == positions


def test_unknown_positions_are_refused():
    with pytest.raises(SettingsError, match="positions 'somewhere' are unknown: pass contiguous or original"):
        Pool(positions="somewhere")  # type: ignore[arg-type]
