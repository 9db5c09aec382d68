"""Take over a decoder of transformers, so that it runs over our KV cache, and give it back as it was."""

from __future__ import annotations

from copy import copy
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
            f"the decoder is of type {type(decoder).__name__} and not transformers' own: wrap the whole model instead"
        )
    if not isinstance(getattr(decoder, "rotary_emb", None), nn.Module):
        raise ModelError(
            f"the decoder ({decoder.config.model_type}) can't be run chunk by chunk: it has no rotary module that all "
            "its layers share; pass a model with another decoder"
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
    return own_copy(decoder.rotary_emb.before.rotary)


def own_copy(rotary: nn.Module) -> nn.Module:
    """A rotary module of its own tensors, whose angles depend on nothing that was rotated before.

    The hooks that accelerate puts on the modules of a spread model are left out; they hold on to weights.
    """
    made: Any = copy(rotary)
    made._buffers = {name: buffer.clone() for name, buffer in rotary.named_buffers()}
    if hasattr(rotary, "_hf_hook"):
        for name in ("_hf_hook", "_old_forward", "forward"):
            vars(made).pop(name, None)
    if getattr(made, "rope_type", None) == "dynamic":
        made.rope_type = "default"
        made.inv_freq = made.original_inv_freq.clone()
    return made


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
