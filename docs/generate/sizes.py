"""The table of bytes for an hour of video, computed by `videox2l.index.sizing` for published checkpoints.

No weights are needed: each model is built with the layers, KV heads, head size and frame geometry of its published
configuration, and is random and narrow in everything that changes no size. Its tokenizer splits the texts among the
frames as the published ones do: Qwen2's and SmolLM2's have a token for every digit, mark and word of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, CLIPImageProcessorPil

from videox2l.compression.registry import compressor_for
from videox2l.index.sizing import IndexSize, predict_size
from videox2l.models.base import MLLM
from videox2l.models.load import wrap_model
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.models.video_xl.config import VideoXLConfig
from videox2l.models.video_xl_2.adapter import VideoXL2
from videox2l.models.video_xl_2.config import VideoXL2Config
from videox2l.testing.tiny_models import build
from videox2l.testing.tiny_models.parts import qwen_tokenizer
from videox2l.types import VideoOutline

HOUR = VideoOutline(frames=3600, duration_s=3600.0)
HEIGHT, WIDTH = 720, 1280
FINE_CHUNKS = 5  # the 3 best, the first and the last
NO_BREAK_HYPHEN, NO_BREAK_SPACE = "\N{NON-BREAKING HYPHEN}", "\N{NO-BREAK SPACE}"
WORDS = ["Time", "Frame", " from", " seconds"]
TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


@dataclass(frozen=True)
class Checkpoint:
    """What a published configuration says that an index's size depends on.

    name: hub id. family: model_type, or the name of the class for the two `llava_qwen` ones.
    layers, heads, head_dim: of the decoder's KVs. text: more of its text_config. vision: of its vision_config.
    config: of its top level. video: settings of its video processor.
    """

    name: str
    family: str
    layers: int
    heads: int
    head_dim: int
    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    video: dict[str, Any] = field(default_factory=dict)


QWEN2_5: dict[str, Any] = {
    "text": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}},
    "video": {"size": {"shortest_edge": 3136, "longest_edge": 12845056}},
}
QWEN3: dict[str, Any] = {
    "text": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5e6,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        }
    },
    "video": {"size": {"shortest_edge": 4096, "longest_edge": 25165824}},
}
ONEVISION: dict[str, Any] = {
    "vision": TOWER | {"image_size": 384},
    "video": {"size": {"height": 384, "width": 384}},
}
CHECKPOINTS = (
    Checkpoint("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "smolvlm", 32, 5, 64, {},
               TOWER | {"image_size": 512, "patch_size": 16}, {"scale_factor": 4},
               {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}),
    Checkpoint("HuggingFaceTB/SmolVLM2-2.2B-Instruct", "smolvlm", 24, 32, 64, {},
               TOWER | {"image_size": 384, "patch_size": 14}, {"scale_factor": 3},
               {"size": {"longest_edge": 1536}, "max_image_size": {"longest_edge": 384}}),
    Checkpoint("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "llava_onevision", 24, 2, 64, **ONEVISION),
    Checkpoint("llava-hf/llava-onevision-qwen2-7b-ov-hf", "llava_onevision", 28, 4, 128, **ONEVISION),
    Checkpoint("llava-hf/LLaVA-NeXT-Video-7B-hf", "llava_next_video", 32, 32, 128, {}, TOWER | {"image_size": 336},
               video={"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}),
    Checkpoint("OpenGVLab/InternVL3-1B-hf", "internvl", 24, 2, 64, {}, TOWER | {"image_size": [448, 448]},
               {"image_seq_length": 256}, {"size": {"height": 448, "width": 448}}),
    Checkpoint("Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5_vl", 36, 2, 128, **QWEN2_5),
    Checkpoint("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", 28, 4, 128, **QWEN2_5),
    Checkpoint("Qwen/Qwen3-VL-2B-Instruct", "qwen3_vl", 28, 8, 128, **QWEN3),
    Checkpoint("Qwen/Qwen3-VL-4B-Instruct", "qwen3_vl", 36, 8, 128, **QWEN3),
    Checkpoint("Qwen/Qwen3-VL-8B-Instruct", "qwen3_vl", 36, 8, 128, **QWEN3),
    Checkpoint("sy1998/Video_XL", "VideoXL", 28, 4, 128),
    Checkpoint("BAAI/Video-XL-2", "VideoXL2", 28, 4, 128),
)  # fmt: skip
"""Values of each checkpoint's published config.json and of its image or video processor's configuration."""


def random_model(checkpoint: Checkpoint, directory: Path) -> MLLM:
    """A random model in bf16 whose index is as large as the checkpoint's."""
    if checkpoint.family in ("VideoXL", "VideoXL2"):
        return random_llava_qwen(checkpoint)
    build(checkpoint.family, directory)
    config = AutoConfig.from_pretrained(directory)
    processor = AutoProcessor.from_pretrained(directory)
    processor.tokenizer.add_tokens(WORDS)
    text = {
        "vocab_size": len(processor.tokenizer),
        "num_hidden_layers": checkpoint.layers,
        "num_attention_heads": checkpoint.heads,
        "num_key_value_heads": checkpoint.heads,
        "head_dim": checkpoint.head_dim,
        "hidden_size": checkpoint.heads * (checkpoint.head_dim if checkpoint.family == "qwen2_5_vl" else 8),
        "intermediate_size": 32,
        **checkpoint.text,
    }
    values = config.to_dict() | checkpoint.config
    values["text_config"].pop("layer_types", None)  # a name for each layer, of which there are now others
    values["text_config"] |= text
    values["vision_config"] |= checkpoint.vision
    if "out_hidden_size" in values["vision_config"]:
        values["vision_config"]["out_hidden_size"] = text["hidden_size"]
    model = AutoModelForImageTextToText.from_config(type(config).from_dict(values), dtype=torch.bfloat16)
    for setting, value in checkpoint.video.items():
        setattr(processor.video_processor, setting, type(getattr(processor.video_processor, setting))(**value))
    return wrap_model(model, processor, checkpoint.name)


def random_llava_qwen(checkpoint: Checkpoint) -> MLLM:
    """The same for Video-XL and Video-XL-2, whose adapters are built from their own configuration."""
    words = qwen_tokenizer()
    words.add_tokens(WORDS)
    decoder: dict[str, Any] = {
        "vocab_size": len(words),
        "hidden_size": checkpoint.heads * checkpoint.head_dim,
        "intermediate_size": 32,
        "num_hidden_layers": checkpoint.layers,
        "num_attention_heads": checkpoint.heads,
        "num_key_value_heads": checkpoint.heads,
        "mm_hidden_size": 32,
    }
    vision = TOWER | {"patch_size": 14}
    named: dict[str, Any] = {"name": checkpoint.name, "fingerprint": ""}
    if checkpoint.family == "VideoXL":
        frame = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
        processor = partial(CLIPImageProcessorPil, **frame)
        config = VideoXLConfig(**decoder)
        return VideoXL(config, vision | {"image_size": 336}, processor, words, **named).to(torch.bfloat16)
    config_2 = VideoXL2Config(**decoder, visual_placeholder_id=len(words))
    return VideoXL2(config_2, vision | {"image_size": 384}, words, **named).to(torch.bfloat16)


def sizes() -> Iterator[tuple[Checkpoint, IndexSize]]:
    """Every checkpoint, and the size of its index of an hour of 720p video at a frame a second."""
    for checkpoint in CHECKPOINTS:
        with tempfile.TemporaryDirectory() as directory:
            model = random_model(checkpoint, Path(directory))
        yield checkpoint, predict_size(model, compressor_for(model), HOUR, HEIGHT, WIDTH)


def sizes_table() -> str:
    """The table, in Markdown."""
    lines = [
        "| checkpoint | tokens a frame | bytes a token | no compression | finest level | coarsest level "
        "| index on disk | cache of an answer |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for checkpoint, size in sizes():
        fine, coarse = sorted(size.tokens)
        cells = [
            f"[{short_name(checkpoint)}](https://huggingface.co/{checkpoint.name}/blob/main/config.json)",
            f"{size.full_tokens / HOUR.frames:.1f}",
            f"{size.token_bytes:,}",
            gigabytes(size.full_cache_bytes),
            f"{gigabytes(size.level_bytes(fine))}{NO_BREAK_SPACE}({fine}x)",
            f"{gigabytes(size.level_bytes(coarse))}{NO_BREAK_SPACE}({coarse}x)",
            gigabytes(size.stored_bytes),
            gigabytes(size.cache_bytes(FINE_CHUNKS)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def short_name(checkpoint: Checkpoint) -> str:
    """A checkpoint's name without what all of its kind have in it, and in one line."""
    name = checkpoint.name.partition("/")[2]
    for part in ("-Video-Instruct", "-Instruct", "-ov-hf", "-hf"):
        name = name.removesuffix(part)
    return name.replace("-qwen2", "").replace("_", "-").replace("-", NO_BREAK_HYPHEN)


def gigabytes(size: int) -> str:
    """Bytes, in one line: 12.3 GB."""
    return f"{size / 1e9:.1f}{NO_BREAK_SPACE}GB"


if __name__ == "__main__":
    print(sizes_table())
