"""Video-XL's eyes: frames -> CLIP processor -> vision tower -> projector -> 2x2 average pooling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

from videox2l.errors import ModelError
from videox2l.models.video_xl.config import VideoXLConfig

FRAMES_PER_CALL = 64
"""Frames the tower takes at once; it bounds memory and changes no value."""

CLIP_LARGE_336 = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
"""openai/clip-vit-large-patch14-336, the tower of the published checkpoints, which do not carry its configuration."""


def vision_config(directory: Path, config: VideoXLConfig) -> dict[str, Any]:
    """The tower's configuration: vision_config.json of the checkpoint, or the published tower's."""
    file = directory / "vision_config.json"
    if file.is_file():
        return json.loads(file.read_text())
    if "clip-vit-large-patch14-336" in config.mm_vision_tower:
        return CLIP_LARGE_336
    raise ModelError(
        f"{directory} has no vision_config.json and its vision tower {config.mm_vision_tower!r} is not the published "
        "one: put the tower's config.json there under that name"
    )


def image_processor(directory: Path, image_size: int) -> CLIPImageProcessorPil:
    """The checkpoint's CLIP image processor (PIL resampling, as in training), or CLIP's own for the tower's size."""
    if (directory / "preprocessor_config.json").is_file():
        return CLIPImageProcessorPil.from_pretrained(directory)
    return CLIPImageProcessorPil(
        size={"shortest_edge": image_size}, crop_size={"height": image_size, "width": image_size}
    )


class ClipTower(nn.Module):
    """A CLIP vision transformer up to the selected layer: patch features without the class token.

    Blocks after the selected layer are not built, so their parameters in a checkpoint are left out.
    """

    def __init__(self, values: dict[str, Any], select_layer: int):
        super().__init__()
        config = CLIPVisionConfig(**values)
        self.out_features = config.hidden_size
        blocks = select_layer if select_layer >= 0 else config.num_hidden_layers + 1 + select_layer
        config.num_hidden_layers = blocks
        model = CLIPVisionModel(config)
        # official names have .vision_model. here; transformers had it too before version 5
        self.vision_model = getattr(model, "vision_model", model)
        del self.vision_model.post_layernorm
        self.vision_model.post_layernorm = nn.Identity()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Pixels (T, 3, S, S) -> features (T, patches, C), row-major."""
        return self.vision_model(pixel_values=pixel_values).last_hidden_state[:, 1:]


class TowerHolder(nn.Module):
    """The `vision_tower.vision_tower` nesting of official parameter names."""

    def __init__(self, tower: nn.Module):
        super().__init__()
        self.vision_tower = tower

    def forward(self, pixel_values: Tensor) -> Tensor:
        """The tower's features."""
        return self.vision_tower(pixel_values)


def build_tower(values: dict[str, Any], config: VideoXLConfig) -> TowerHolder:
    """The vision tower that a vision configuration describes, with its official parameter names."""
    kind = values.get("model_type", "clip_vision_model")
    if kind == "conv_vision_model":
        from videox2l.models.video_xl.conv_tower import ConvTower, ConvTowerConfig

        return TowerHolder(ConvTower(ConvTowerConfig.from_dict(values)))
    if kind == "clip_vision_model":
        return TowerHolder(ClipTower(values, config.mm_vision_select_layer))
    raise ModelError(f"vision tower type {kind!r} is unknown: it can be clip_vision_model or conv_vision_model")


def pool(features: Tensor, stride: int) -> Tensor:
    """Average-pool each frame's square grid of tokens: (T, n, hidden) -> (T, n / stride^2, hidden), row-major."""
    side = int(features.shape[1] ** 0.5)
    grid = features.unflatten(1, (side, side)).permute(0, 3, 1, 2)  # (T, hidden, side, side)
    return F.avg_pool2d(grid, stride).flatten(2).transpose(1, 2)


class VisualEncoder:
    """Frames to pooled visual tokens; the tower and the projector are the model's own modules."""

    def __init__(self, tower: nn.Module, projector: nn.Module, processor: CLIPImageProcessorPil, stride: int):
        self.tower, self.projector, self.processor, self.stride = tower, projector, processor, stride

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 frames (T, 3, H, W) -> (T, tokens per frame, hidden)."""
        weight = next(self.projector.parameters())
        tokens = []
        for frames in pixels.split(FRAMES_PER_CALL):
            images = self.processor(list(frames.numpy()), return_tensors="pt", input_data_format="channels_first")
            features = self.tower(images["pixel_values"].to(weight.device, weight.dtype))
            tokens.append(pool(self.projector(features), self.stride))
        return torch.cat(tokens)
