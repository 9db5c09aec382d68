"""From training checkpoints to the checkpoint directory that ships: official parameter names, fp16."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from training.bank import PIXEL_MEAN, PIXEL_STD
from training.language import LanguageModel
from training.tokenizer import save_tokenizer
from training.tower import VisionModel
from videox2l.models.video_xl.config import VideoXLConfig


def export_model(vision: VisionModel, model: LanguageModel, directory: Path) -> None:
    """Write config, vision_config, preprocessor_config, generation_config, tokenizer and model.safetensors."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {name: choices[0] for name, choices in VideoXLConfig.choices.items()} | asdict(model.config)
    config |= {
        "model_type": "llava_qwen",
        "architectures": ["LlavaQwenForCausalLM"],
        "enable_beacon": True,
        "torch_dtype": "float32",
        "mm_hidden_size": vision.config.hidden_size,
    }
    write_json(directory / "config.json", config)
    tower = {"model_type": "conv_vision_model"} | asdict(vision.config) | {"hidden_size": vision.config.hidden_size}
    write_json(directory / "vision_config.json", tower)
    write_json(
        directory / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"height": vision.config.image_size, "width": vision.config.image_size},
            "resample": 3,
            "do_center_crop": False,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [PIXEL_MEAN] * 3,
            "image_std": [PIXEL_STD] * 3,
        },
    )
    write_json(
        directory / "generation_config.json",
        {"do_sample": False, "eos_token_id": model.config.eos_token_id, "trained_on_conversations": False},
    )
    save_tokenizer(directory)
    weights: dict[str, Tensor] = {"model.embed_tokens.weight": model.word_table()}
    weights |= {f"model.{name}": value for name, value in model.decoder.state_dict().items()}
    weights |= {f"model.mm_projector.{name}": value for name, value in vision.projector.state_dict().items()}
    weights |= {f"model.vision_tower.vision_tower.{name}": value for name, value in vision.tower.state_dict().items()}
    save_fp16(weights, directory / "model.safetensors")


def save_fp16(weights: dict[str, Tensor], file: Path) -> None:
    """Write tensors as fp16 safetensors."""
    halves = {name: value.detach().to(torch.float16).contiguous() for name, value in weights.items()}
    save_file(halves, str(file), metadata={"format": "pt"})
    file.chmod(0o644)


def write_json(file: Path, values: dict[str, object]) -> None:
    """Write readable JSON."""
    file.write_text(json.dumps(values, indent=2) + "\n")
