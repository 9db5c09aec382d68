"""The digest of a model in memory, which tells it from any other."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from videox2l.digest import digest
from videox2l.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SAMPLES, SAMPLE_BYTES = 16, 4096
"""How many blocks of a tensor are taken into the digest as they are, and their size."""


def model_digest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, video_processor: Any) -> str:
    """Hex digest of a model in memory: its weights, its configuration and quantization, tokenizer and processor.

    Of every tensor: name, shape, dtype, the sum of all its bytes taken as 64-bit integers, and blocks spread over it.
    The sum is exact, the same in any order and on any device, and other for any change of a single value; the blocks
    tell what a sum can't, as rows that changed places. That is safe against what changes models (training, merging,
    pruning, quantizing, editing single values), and reads weights as fast as memory is. It can't see a change made so
    that the sums and all sampled blocks stay the same, nor weights that change afterwards: wrap the model again then.
    What it says of weights on disk is another digest than `checkpoint_fingerprint`'s.
    Raises: ModelError for weights that are nowhere in memory and can't be had.
    """
    told = hashlib.blake2b(digest_size=16)
    config = model.config.to_diff_dict()
    for name in ("transformers_version", "_name_or_path"):
        config.pop(name, None)
    words = tokenizer.get_vocab()
    if tokenizer.is_fast:
        words = json.loads(tokenizer.backend_tokenizer.to_str())
        words |= {"truncation": None, "padding": None}  # calls set them
    for about in (config, words, tokenizer.chat_template, video_processor.to_dict()):
        told.update(json.dumps(about, sort_keys=True, default=str).encode())
    for name, tensor in weights(model):
        told.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        told.update(sampled(tensor))
    return told.hexdigest()


def weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The plain tensors of a model by name: those that a quantized tensor is made of, and those kept elsewhere."""
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor):
            continue
        if tensor.is_meta:
            tensor = offloaded(model, name)
        yield from plain(name, tensor)


def plain(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor, or those that a quantized one is made of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield name, tensor
        return
    for part in tensor.__tensor_flatten__()[0]:
        yield from plain(f"{name}.{part}", getattr(tensor, part))


def offloaded(model: nn.Module, name: str) -> Tensor:
    """A weight that accelerate keeps on the CPU or on disk and brings when it is needed."""
    module, _, own_name = name.rpartition(".")
    hook = getattr(model.get_submodule(module), "_hf_hook", None)
    kept = getattr(hook, "weights_map", None)
    if kept is None:
        raise ModelError(f"parameter {name} of the model has no value (it is on the meta device): load its weights")
    return kept[own_name]


def sampled(tensor: Tensor) -> bytes:
    """The sum of a tensor's bytes as 64-bit integers, and blocks spread evenly from its first to its last byte."""
    content = tensor.detach().reshape(-1).view(torch.uint8)
    whole = content[: len(content) // 8 * 8]
    if whole.storage_offset() % 8:
        whole = whole.clone()
    total = whole.view(torch.int64).sum().reshape(1)
    blocks = [content]
    if len(content) > SAMPLES * SAMPLE_BYTES:
        last = len(content) - SAMPLE_BYTES
        starts = (last * number // (SAMPLES - 1) for number in range(SAMPLES))
        blocks = [content[start : start + SAMPLE_BYTES] for start in starts]
    return torch.cat([total.view(torch.uint8), *blocks]).cpu().numpy().tobytes()


def with_quantization(fingerprint: str, quantization: Any) -> str:
    """A checkpoint's fingerprint with how its weights are quantized as they are loaded."""
    if quantization is None:
        return fingerprint
    settings = quantization if isinstance(quantization, Mapping) else quantization.to_dict()
    return digest({"loaded": fingerprint, "quantization": json.dumps(settings, sort_keys=True, default=str)})


def with_switches(fingerprint: str, model: nn.Module) -> str:
    """A model's fingerprint with which of its adapters (LoRA and the like) are switched on, merged, and how strong."""
    if "peft" not in sys.modules:
        return fingerprint
    from peft.tuners.tuners_utils import BaseTunerLayer

    switches = [
        (name, layer.disable_adapters, layer.active_adapters, layer.merged_adapters, getattr(layer, "scaling", None))
        for name, layer in model.named_modules()
        if isinstance(layer, BaseTunerLayer)
    ]
    return digest({"loaded": fingerprint, "switches": repr(switches)}) if switches else fingerprint
