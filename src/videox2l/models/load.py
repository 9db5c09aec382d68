"""The adapters of every family of multimodal LLMs, and how a model of one is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from videox2l.errors import ModelError, SettingsError
from videox2l.models.base import MLLM, FrameLimits
from videox2l.models.bundled import BUNDLED
from videox2l.models.checkpoint import Checkpoint, first_line, weights_dtype
from videox2l.models.model_digest import model_digest
from videox2l.registry import Registry

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from videox2l.models.hugging_face import HuggingFaceMLLM

ADAPTERS: Registry[MLLM] = Registry(
    "model",
    {
        "internvl": "videox2l.models.internvl:InternVL",
        "llava_next_video": "videox2l.models.llava_next_video:LlavaNextVideo",
        "llava_onevision": "videox2l.models.llava_onevision:LlavaOnevision",
        "llava_qwen/video_xl": "videox2l.models.video_xl.adapter:VideoXL",
        "llava_qwen/video_xl_2": "videox2l.models.video_xl_2.adapter:VideoXL2",
        "qwen2_5_vl": "videox2l.models.qwen2_5_vl:Qwen2_5VL",
        "qwen2_vl": "videox2l.models.qwen2_vl:Qwen2VL",
        "qwen3_5": "videox2l.models.qwen3_5:Qwen3_5",
        "qwen3_vl": "videox2l.models.qwen3_vl:Qwen3VL",
        "smolvlm": "videox2l.models.smolvlm:SmolVLM",
    },
)
"""Adapters by config.json's model_type, and where several share it, "model_type/name".

The first one in the order of names that accepts a config.json takes it. Another package adds one by an entry point of
the group "videox2l.models".
"""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

QUANTIZATION_PACKAGES = {
    "auto-round": "auto-round",
    "awq": "gptqmodel accelerate",
    "bitsandbytes": "bitsandbytes accelerate",
    "compressed-tensors": "compressed-tensors accelerate",
    "fp8": "accelerate kernels",
    "gptq": "gptqmodel optimum accelerate",
    "hqq": "hqq accelerate",
    "quanto": "optimum-quanto accelerate",
    "torchao": "torchao accelerate",
}
"""What has to be installed for transformers to load a checkpoint that was quantized so."""

SENSES = {"vision": ("vision", "visual", "image_", "video_", "mm_"), "audio": ("audio", "speech", "num_mel")}
"""What the names of a configuration's settings begin with if the model takes more than text."""


def load_model(
    model: str | Path = "nano",
    device: str = "auto",
    dtype: str = "auto",
    *,
    revision: str | None = None,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
    device_map: str | int | Mapping[str, Any] | None = None,
    quantization_config: Any = None,
) -> MLLM:
    """Load a checkpoint.

    model: hub id, directory, or the name of a bundled one, "nano" or "nano-qwen".
    device: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1" ...
    dtype: "auto" (fp32 on the CPU, on an accelerator the checkpoint's own), "float32", "bfloat16" or "float16".
    revision: branch, tag or commit of a model on the hub; by default its main branch.
    max_pixels, min_pixels: how large frames are for the vision encoder, for families that resize them; see
        `FrameLimits`.
    device_map: spreads the layers over devices, as in transformers: "auto", "balanced" ..., or a device for each
        module by name; needs the package accelerate. By default the model is on `device` alone.
    quantization_config: quantizes the weights as they are loaded, as in transformers (BitsAndBytesConfig ...).
    Raises: ModelError for a model that is unknown, incomplete or of an unsupported family, or needs what is not
    installed; SettingsError for an unknown device or dtype, or settings that exclude each other or
    that a model of this family does not have.
    """
    name = str(model)
    check_dtype(dtype)  # what can be refused before the model is looked at
    place = pick_device(device, device_map)
    limits = FrameLimits(max_pixels, min_pixels)
    checkpoint = Checkpoint.find(BUNDLED.get(name, model), revision)
    config = checkpoint.config
    adapter = adapter_of(config)
    if adapter is None:
        raise ModelError(refusal(checkpoint.directory, config, name))
    options = {"device_map": device_map, "quantization_config": quantization_config}
    options = {option: value for option, value in options.items() if value is not None}
    quantization = quantization_config or quantization_of(config)
    if options or quantization:
        refuse_options(adapter, name)
    if quantization:
        check_quantization(quantization, quantization_config is None, device_map, name)
    if limits != FrameLimits():
        limits.check_family(adapter)
        options["frame_limits"] = limits
    directory = checkpoint.files()
    return adapter.from_directory(directory, place, pick_dtype(dtype, place, config, directory), name, **options)


def wrap_model(
    model: Any,
    processor: Any,
    name: str | None = None,
    *,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
) -> HuggingFaceMLLM:
    """Drive a model of transformers that is in memory already: quantized, spread over devices, with adapters (LoRA).

    It is driven as it is, not copied: see `HuggingFaceMLLM`, also for what changes in it until `release`. Adapters that
    are not merged stay as they are switched; switching them changes the fingerprint.

    model: a PreTrainedModel, or one that peft wrapped.
    processor: the family's, as AutoProcessor gives it: tokenizer, video processor and chat template.
    name: for display; by default what the model was loaded from.
    max_pixels, min_pixels: as for `load_model`.
    Raises: ModelError for a model or a processor that can't be used; SettingsError for limits of frames that a model of
    this family does not have.
    """
    from transformers import PreTrainedModel

    from videox2l.models.hugging_face import HuggingFaceMLLM

    if prompts := [kind for kind, settings in peft_settings(model).items() if settings.is_prompt_learning]:
        raise ModelError(f"the adapter {prompts[0]!r} is a learnt prompt, which can't stand before a video: use LoRA")
    if hasattr(model, "get_base_model"):  # peft's layers are in it, whatever wraps it
        model = model.get_base_model()
    if not isinstance(model, PreTrainedModel):
        raise ModelError(
            f"an object of type {type(model).__name__} is not a model of transformers: pass what from_pretrained gave"
        )
    name = name or model.name_or_path or type(model).__name__
    config = model.config.to_dict()
    adapter = adapter_of(config)
    if adapter is None:
        raise ModelError(refusal(model.config, config, name))
    if not issubclass(adapter, HuggingFaceMLLM):
        raise ModelError(
            f"{name} belongs to a family that is loaded from its directory: pass the directory instead of the model"
        )
    missing = [part for part in ("tokenizer", "video_processor") if getattr(processor, part, None) is None]
    if missing:
        raise ModelError(
            f"the processor ({type(processor).__name__}) of {name} has no {' and no '.join(missing)}: pass "
            "processor=AutoProcessor.from_pretrained(...) of the same checkpoint"
        )
    tokenizer = copy(processor.tokenizer)
    tokenizer.chat_template = processor.chat_template or tokenizer.chat_template
    limits = FrameLimits(max_pixels, min_pixels) if (max_pixels, min_pixels) != (None, None) else None
    fingerprint = model_digest(model, tokenizer, processor.video_processor)
    return adapter(model, tokenizer, processor.video_processor, name=name, fingerprint=fingerprint, frame_limits=limits)


def peft_settings(model: Any) -> Mapping[str, Any]:
    """The settings of each of a model's adapters by name, if peft added any."""
    return getattr(model, "peft_config", None) or {}


def adapter_of(config: Mapping[str, Any]) -> type[MLLM] | None:
    """The first adapter that accepts a config.json, if there is one; others are not imported."""
    for name in ADAPTERS.names:
        if name.partition("/")[0] == config.get("model_type") and ADAPTERS[name].accepts(config):
            return ADAPTERS[name]
    return None


def refusal(source: Path | PreTrainedConfig, config: Mapping[str, Any], name: str) -> str:
    """Why a model without an adapter has none, as far as its configuration tells, and what there is.

    source: the configuration, or the directory it is in. config: the same as config.json has it.
    """
    model_type = config.get("model_type")
    known = sorted({adapter.partition("/")[0] for adapter in ADAPTERS.names})
    there_is = f"there are adapters for {', '.join(known)} (docs/adding-a-model.md says how to write one)"
    senses = [sense for sense, marks in SENSES.items() if mentions(config, marks)]
    if "vision" not in senses:
        return f"{name} is {'an audio' if senses else 'a text-only'} model ({model_type}) and sees no video: {there_is}"
    from transformers import AutoConfig

    from videox2l.models.decoder_rules import refuse_decoder

    try:
        if isinstance(source, Path):
            source = AutoConfig.from_pretrained(source, trust_remote_code=False)
        refuse_decoder(source.get_text_config())
    except ModelError as error:
        return f"{name} ({model_type}) can't be used: {error}; {there_is}"
    except Exception:  # a configuration transformers does not know tells no more
        pass
    return f"model type {model_type!r} of {name} ({' and '.join(senses)}) has no adapter: {there_is}"


def mentions(config: Mapping[str, Any], marks: tuple[str, ...]) -> bool:
    """Whether a name in a configuration, or in a part of it, begins with one of the marks."""
    return any(
        str(name).startswith(marks) or (isinstance(part, Mapping) and mentions(part, marks))
        for name, part in config.items()
    )


def refuse_options(adapter: type[MLLM], name: str) -> None:
    """Raises: SettingsError if an adapter does not load by transformers, which spreads and quantizes."""
    from videox2l.models.hugging_face import HuggingFaceMLLM

    if not issubclass(adapter, HuggingFaceMLLM):
        raise SettingsError(
            f"{name} is loaded by {adapter.__name__}, which supports neither device_map nor quantization: leave them "
            "out, and pass a checkpoint that is not quantized"
        )


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json that is the text model's."""
    part = config.get("text_config")
    return part if isinstance(part, Mapping) else {}


def quantization_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How a checkpoint's weights are quantized; None if they are not."""
    return config.get("quantization_config") or text_config(config).get("quantization_config")


def check_quantization(quantization: Any, is_done: bool, device_map: Any, name: str) -> None:
    """Raises: ModelError if what a kind of quantization needs is not here.

    is_done: whether the weights are quantized already.
    """
    from transformers.quantizers import AutoHfQuantizer

    try:
        quantizer = AutoHfQuantizer.from_config(quantization, pre_quantized=is_done)
        quantizer.validate_environment(device_map=device_map, weights_only=True)
    except Exception as error:
        method = quantization.get("quant_method") if isinstance(quantization, Mapping) else quantization.quant_method
        method = str(getattr(method, "value", method))
        mend = "pass a checkpoint that is not quantized, or load it where this is met"
        if isinstance(error, ImportError) and method in QUANTIZATION_PACKAGES:
            mend = f"pip install {QUANTIZATION_PACKAGES[method]}"
        raise ModelError(
            f"{name} with {method} quantization can't be loaded here ({first_line(error)}): {mend}"
        ) from error


def pick_device(device: str, device_map: str | int | Mapping[str, Any] | None = None) -> torch.device:
    """The device of a name; "auto" is CUDA where there is one. With a device_map, the CPU or what "auto" is.

    Raises: SettingsError for a device that is not there, or a device_map beside a device or without accelerate.
    """
    if device_map is not None:
        if device != "auto":
            raise SettingsError(
                f"device {device!r} and device_map {device_map!r} can't be combined: pass only one of them"
            )
        if find_spec("accelerate") is None:
            raise SettingsError(
                f"device_map {device_map!r} needs accelerate, which is not installed: pip install accelerate"
            )
        places = set(map(str, device_map.values() if isinstance(device_map, Mapping) else [device_map]))
        if places <= {"cpu", "disk"}:
            return torch.device("cpu")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"device {device!r} is not available here: pass cpu or auto") from error
    return place


def pick_dtype(dtype: str, device: torch.device, config: Mapping[str, Any], directory: Path) -> torch.dtype:
    """The dtype of a name; "auto" is fp32 on the CPU and the checkpoint's own elsewhere.

    The checkpoint's own is what config.json says, at its top or of the text model, else what the weights have, as
    transformers takes it.
    """
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        named = (part.get(key) for part in (config, text_config(config)) for key in ("dtype", "torch_dtype"))
        dtype = next(filter(None, named), None) or weights_dtype(directory)
        check_dtype(dtype)
    return DTYPES[dtype]


def check_dtype(dtype: str) -> None:
    """Raises: SettingsError for a dtype that is not supported."""
    if dtype not in ("auto", *DTYPES):
        raise SettingsError(f"dtype {dtype!r} is not supported: pass {', '.join(DTYPES)}")
