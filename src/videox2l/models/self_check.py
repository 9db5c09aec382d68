"""A decoder is run as transformers runs it and as we run it, before it is used, and refused where the two differ.

What an adapter does not know of a decoder (another kind of RoPE, a sliding window, a bias on attention) would give
wrong answers without a word. What enters attention is compared, not only what comes out: a wrong rotation is plain
there whatever the weights and the dtype.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from videox2l.errors import ModelError
from videox2l.models.base import MLLM
from videox2l.models.checkpoint import first_line
from videox2l.models.forward import Forward

RECORDED = "videox2l_recorded"
"""The name, in transformers' registry, of its own attention with what enters it recorded."""

TOKENS = 8

TOLERANCE = {torch.float32: 1e-3}
HALF_TOLERANCE = 0.1
"""Relative errors that rounding may make, in fp32 and in any other dtype; a wrong rotation makes one near 1."""

HARMLESS = {"dropout", "is_causal", "position_ids", "use_cache", "output_attentions"}
"""Settings of attention that change nothing here, or that show in what comes out."""


@dataclass(frozen=True)
class Recorded:
    """What entered one layer's attention.

    layer: its number.
    queries, keys: rotated, (heads, n, d_h) and (n_h, n, d_h).
    values: (n_h, n, d_h).
    settings: what else attention was told, by name.
    """

    layer: int
    queries: Tensor
    keys: Tensor
    values: Tensor
    settings: dict[str, Any]


def recorded_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    records: deque[Recorded] | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface, for its own rotary module and mask."""
    if records is None:
        raise TypeError("its attention is not given what the decoder is")
    told = {name: setting for name, setting in settings.items() if name not in HARMLESS and name != "scaling"}
    layer: int = module.layer_idx  # type: ignore[assignment]
    records.append(Recorded(layer, query[0], key[0], value[0], told))
    return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)


AttentionInterface.register(RECORDED, recorded_attention)
AttentionMaskInterface.register(RECORDED, sdpa_mask)


@torch.no_grad()
def check_decoder(model: MLLM, decoder: PreTrainedModel, rope: nn.Module) -> None:
    """Run a few tokens at the end of the trained context through one layer of each kind, in both ways.

    Takes the time of three forwards of a few tokens through those layers; mostly that is one layer.

    model: ours. decoder: the one of transformers that it drives, taken over. rope: the decoder's own rotary module.
    Raises: ModelError if the decoder can't be run in either way, or the two differ by more than rounding.
    """
    kind = decoder.config.model_type
    words = decoder.get_input_embeddings().weight.shape[0]
    embeddings = model.embed(torch.arange(TOKENS) * (words // TOKENS))
    start = max(0, model.max_positions - TOKENS)
    positions = model.text_positions(torch.arange(start, start + TOKENS, device=embeddings.device))
    if positions.ndim == 2:
        positions = positions - torch.arange(3, device=positions.device)[:, None] * (start // 4)
    try:
        with one_layer_of_each_kind(decoder):
            own, own_states = run_own(decoder, rope, embeddings, positions)
            ours, our_states = run_ours(model, embeddings, positions)
    except Exception as error:  # whatever a decoder of another build raises
        raise ModelError(
            f"the decoder ({kind}) can't be run chunk by chunk ({first_line(error)}): pass a model with another decoder"
        ) from error
    if not own or len(own) != len(ours):
        raise ModelError(
            f"the decoder ({kind}) does not run its attention through transformers' AttentionInterface, so chunks' KVs "
            "can't be taken from it: pass a model with another decoder"
        )
    for record in own:
        for name, setting in record.settings.items():
            if setting is None or setting is False or (name == "sliding_window" and setting >= model.max_positions):
                continue
            raise ModelError(
                f"the decoder ({kind}) gives its attention a {name}, which attention over re-loaded KVs does not have: "
                "pass a model with another decoder"
            )
    compared = []
    for record, (queries, keys, values) in zip(own, ours, strict=True):
        compared.append((f"queries of layer {record.layer}", queries, record.queries))
        compared.append((f"keys of layer {record.layer}", keys, record.keys))
        compared.append((f"values of layer {record.layer}", values, record.values))
    compared.append(("states behind the last layer", our_states, own_states))
    for name, our, expected in compared:
        departure = difference(our, expected)
        if not departure <= TOLERANCE.get(embeddings.dtype, HALF_TOLERANCE):
            raise ModelError(
                f"the decoder ({kind}), run chunk by chunk, departs from itself: the {name} differ by {departure:.1%}, "
                "as with a RoPE that does not pair the two halves of a head; pass a model with another decoder"
            )


def run_own(
    decoder: PreTrainedModel, rope: nn.Module, embeddings: Tensor, positions: Tensor
) -> tuple[list[Recorded], Tensor]:
    """All tokens at once, with the decoder's own rotary module and mask."""
    records: deque[Recorded] = deque()  # not a list: the hooks of a spread model would hand on a copy of it
    rotary, attention = decoder.rotary_emb, decoder.config._attn_implementation
    decoder.rotary_emb = rope
    decoder.set_attn_implementation(RECORDED)
    try:
        states = decoder(
            inputs_embeds=embeddings[None], position_ids=positions[..., None, :], use_cache=False, records=records
        ).last_hidden_state
    finally:
        decoder.rotary_emb = rotary
        decoder.set_attn_implementation(attention)
    return list(records), states[0]


def run_ours(model: MLLM, embeddings: Tensor, positions: Tensor) -> tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor]:
    """Half of the tokens behind the other half's cache: every layer's rotated queries and keys and its values."""
    cache, half = model.new_cache(TOKENS), TOKENS // 2
    runs, states = [], []
    for part in (slice(0, half), slice(half, TOKENS)):
        forward = Forward.behind(cache, half, positions=positions[..., part], records_kv=True, records_queries=True)
        states.append(model.run(embeddings[part], forward))
        runs.append(forward)
    entered = []
    for layer in range(len(runs[0].keys)):
        queries, keys, values = (
            torch.cat([recorded[layer] for recorded in both], dim=1)  # (heads, half, d_h) -> (heads, TOKENS, d_h)
            for both in ([run.queries for run in runs], [run.keys for run in runs], [run.values for run in runs])
        )
        placed = positions.to(keys.device)
        entered.append((model.rotate(queries, placed), model.rotate(keys, placed), values))
    return entered, torch.cat(states)


@contextmanager
def one_layer_of_each_kind(decoder: nn.Module) -> Iterator[None]:
    """For a while, leave a decoder the first layer of each kind alone."""
    layers: Sequence[nn.Module] = decoder.layers  # type: ignore[assignment]
    kinds: dict[tuple, nn.Module] = {}
    for layer in layers:
        kinds.setdefault(settings_of(layer), layer)
    decoder.layers = nn.ModuleList(kinds.values())
    try:
        yield
    finally:
        decoder.layers = layers  # type: ignore[assignment]


def settings_of(layer: nn.Module) -> tuple:
    """All plain values that a layer and its parts were built with, but its number."""
    return tuple(
        (part, type(module), name, value)
        for part, module in layer.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, str | int | float | None) and name != "layer_idx" and not name.startswith("_")
    )


def difference(ours: Tensor, own: Tensor) -> float:
    """Relative error."""
    own = own.to(ours.device).float()
    return float((ours.float() - own).norm() / own.norm().clamp_min(1e-6))
