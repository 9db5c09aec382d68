"""Every family of multimodal LLMs by its model_type, and how a checkpoint of one is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from videox2l.errors import ModelError, SettingsError
from videox2l.models.base import MLLM, FrameLimits
from videox2l.models.checkpoint import checkpoint_directory

FAMILIES: dict[str, tuple[str, ...]] = {
    "internvl": ("videox2l.models.internvl:InternVL",),
    "llava_next_video": ("videox2l.models.llava_next_video:LlavaNextVideo",),
    "llava_onevision": ("videox2l.models.llava_onevision:LlavaOnevision",),
    "llava_qwen": ("videox2l.models.video_xl.adapter:VideoXL", "videox2l.models.video_xl_2.adapter:VideoXL2"),
    "qwen2_5_vl": ("videox2l.models.qwen2_5_vl:Qwen2_5VL",),
    "qwen2_vl": ("videox2l.models.qwen2_vl:Qwen2VL",),
    "qwen3_vl": ("videox2l.models.qwen3_vl:Qwen3VL",),
    "smolvlm": ("videox2l.models.smolvlm:SmolVLM",),
}
"""Adapters by config.json's model_type; of several the first that accepts the config.json takes it.

Another package adds a family by an entry point of the group "videox2l.models", named by its model_type.
"""

ENTRY_POINTS = "videox2l.models"

NANO = Path(__file__).parent.parent / "nano"
"""The bundled demonstration model."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    model: str | Path = "nano",
    device: str = "auto",
    dtype: str = "auto",
    *,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
) -> MLLM:
    """Load a checkpoint by hub id, directory, or "nano" for the bundled one.

    device: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1" ... dtype: "auto" (fp32 on the CPU, on an
    accelerator the checkpoint's own), "float32", "bfloat16" or "float16". max_pixels, min_pixels: see `FrameLimits`.
    Raises: ModelError for a model that is unknown, incomplete or of an unsupported family; SettingsError for an
    unknown device or dtype, or limits of frames that a model of this family has none of.
    """
    directory = NANO if str(model) == "nano" else checkpoint_directory(model)
    try:
        config = json.loads((directory / "config.json").read_text())
    except ValueError as error:
        raise ModelError(f"{directory / 'config.json'} is not valid JSON ({error}): download it again") from error
    adapter = next((adapter for adapter in adapters(config.get("model_type")) if adapter.accepts(config)), None)
    if adapter is None:
        raise ModelError(refusal(directory, config, str(model)))
    place = pick_device(device)
    options: dict[str, Any] = {}
    if max_pixels is not None or min_pixels is not None:
        options["frame_limits"] = FrameLimits(max_pixels, min_pixels)
        options["frame_limits"].check_family(adapter)
    return adapter.from_directory(directory, place, pick_dtype(dtype, place, config), str(model), **options)


def adapters(model_type: str | None) -> Iterator[type[MLLM]]:
    """The adapters of a model_type, imported one by one."""
    for path in FAMILIES.get(str(model_type), ()):
        module, _, name = path.partition(":")
        yield getattr(import_module(module), name)
    if model_type not in FAMILIES:
        yield from (point.load() for point in entry_points(group=ENTRY_POINTS) if point.name == model_type)


def refusal(directory: Path, config: dict, name: str) -> str:
    """Why a model without an adapter has none, as far as its configuration tells, and what there is."""
    model_type = config.get("model_type")
    known = sorted({*FAMILIES, *entry_points(group=ENTRY_POINTS).names})
    there_is = f"there are adapters for {', '.join(known)} (docs/adding-a-model.md says how to write one)"
    if not any(part.startswith(("vision_", "visual", "mm_")) for part in config):
        return f"{name} is a text-only model ({model_type}) and sees no video: {there_is}"
    from videox2l.models.hugging_face import refuse_decoder

    try:
        refuse_decoder(AutoConfig.from_pretrained(directory).get_text_config())
    except ModelError as error:
        return f"{name} ({model_type}) can't be used: {error}; {there_is}"
    except Exception:  # a configuration transformers does not know tells no more
        pass
    return f"model type {model_type!r} of {name} has no adapter: {there_is}"


def pick_device(device: str) -> torch.device:
    """The device of a name; "auto" is CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"device {device!r} is not available here: pass cpu or auto") from error
    return place


def pick_dtype(dtype: str, device: torch.device, config: dict) -> torch.dtype:
    """The dtype of a name; "auto" is fp32 on the CPU and the checkpoint's own elsewhere."""
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        dtype = str(config.get("dtype") or config.get("torch_dtype") or "float16")
    if dtype not in DTYPES:
        raise SettingsError(f"dtype {dtype!r} is unknown: pass auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]
