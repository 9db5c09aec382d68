"""Take over a decoder of transformers, so that it runs over our KV cache, and give it back as it was."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from videox2l.errors import ModelError
from videox2l.models.cached_attention import ATTENTION, NoRotation


@dataclass(frozen=True)
class Before:
    """What a model was before its decoder was taken over.

    rotary: the decoder's rotary module. attention: the name of its attention function. training: each module's mode.
    trainable: the parameters that need gradients.
    """

    rotary: nn.Module
    attention: str
    training: dict[nn.Module, bool]
    trainable: list[nn.Parameter]


class TakenRotation(NoRotation):
    """The rotary module of a decoder that was taken over; it remembers what was before."""

    def __init__(self, head_dim: int, before: Before):
        super().__init__(head_dim)
        self.before = before


def take_over(model: PreTrainedModel, decoder: PreTrainedModel, head_dim: int) -> nn.Module:
    """Give a model's decoder our attention function and no rotation; returns a copy of its rotary module.

    Raises: ModelError if the decoder is wrapped in something that would hide the change from it.
    """
    if not isinstance(decoder, PreTrainedModel):
        raise ModelError(
            f"the decoder is a {type(decoder).__name__} and not transformers' own: wrap the whole model instead"
        )
    if not isinstance(decoder.rotary_emb, TakenRotation):
        before = Before(
            decoder.rotary_emb,
            decoder.config._attn_implementation,
            {module: module.training for module in model.modules()},
            [parameter for parameter in model.parameters() if parameter.requires_grad],
        )
        decoder.rotary_emb = TakenRotation(head_dim, before)
        decoder.set_attn_implementation(ATTENTION)
    rotary: Any = deepcopy(decoder.rotary_emb.before.rotary)
    if getattr(rotary, "rope_type", None) == "dynamic":
        rotary.rope_type = "default"  # else a large position changes the angles of all that are rotated later
        rotary.inv_freq = rotary.original_inv_freq  # what the user ran before may have changed them already
    if hasattr(rotary, "_hf_hook"):
        from accelerate.hooks import remove_hook_from_module

        remove_hook_from_module(rotary)
    return rotary


def give_back(decoder: PreTrainedModel) -> None:
    """Undo `take_over`, and set the modes and gradients that were."""
    if not isinstance(decoder.rotary_emb, TakenRotation):
        return
    before = decoder.rotary_emb.before
    decoder.rotary_emb = before.rotary
    decoder.set_attn_implementation(before.attention)
    for module, training in before.training.items():
        module.training = training
    for parameter in before.trainable:
        parameter.requires_grad_()
