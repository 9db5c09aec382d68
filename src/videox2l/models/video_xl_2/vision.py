"""Video-XL-2's eyes: frames -> SigLIP tower -> one 24x24 feature map a frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SiglipVisionConfig, SiglipVisionModel

from videox2l.errors import ModelError
from videox2l.models.video_xl_2.config import VideoXL2Config

FRAMES_PER_CALL = 32
"""Frames the tower takes at once; it bounds memory and changes no value."""

GRID = 24
"""Side of the feature map that the temporal module takes."""

SIGLIP_SO400M_384 = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}
"""google/siglip-so400m-patch14-384, the tower of the published checkpoint, which does not carry its configuration."""


def vision_config(directory: Path, config: VideoXL2Config) -> dict[str, Any]:
    """The tower's configuration: vision_config.json of the checkpoint, or the published tower's.

    Raises: ModelError if there is neither, or it is not a SigLIP tower of the decoder's width.
    """
    file = directory / "vision_config.json"
    if file.is_file():
        values = json.loads(file.read_text())
    elif "siglip-so400m-patch14-384" in config.mm_vision_tower:
        values = SIGLIP_SO400M_384
    else:
        raise ModelError(
            f"{directory} has no vision_config.json and its vision tower {config.mm_vision_tower!r} is not the "
            "published siglip-so400m-patch14-384: put the tower's config.json there under that name"
        )
    if values.get("model_type") != "siglip_vision_model":
        raise ModelError(
            f"{directory} has a {values.get('model_type')!r} vision tower and no visual summary tokens "
            "(enable_beacon), so it is neither a Video-XL nor a Video-XL-2 checkpoint: pass one of these"
        )
    if values.get("hidden_size") != config.mm_hidden_size:
        raise ModelError(
            f"the vision tower of {directory} has {values.get('hidden_size')} channels and config.json asks for "
            f"mm_hidden_size={config.mm_hidden_size}"
        )
    return values


class SiglipTower(nn.Module):
    """SigLIP without its last block, final norm and pooling head, with official parameter names."""

    def __init__(self, values: dict[str, Any]):
        super().__init__()
        config = SiglipVisionConfig(**values, vision_use_head=False)
        config.num_hidden_layers -= 1
        model = SiglipVisionModel(config)
        # official names have .vision_model. here; transformers had it too before version 5
        self.vision_model = getattr(model, "vision_model", model)
        del self.vision_model.post_layernorm
        self.vision_model.post_layernorm = nn.Identity()
        self.image_size = config.image_size

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Pixels (T, 3, S, S) -> features (T, patches, C), row-major."""
        return self.vision_model(pixel_values=pixel_values).last_hidden_state


class TowerHolder(nn.Module):
    """The `vision_tower.vision_tower` nesting of official parameter names."""

    def __init__(self, tower: SiglipTower):
        super().__init__()
        self.vision_tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 frames (T, 3, H, W) -> feature maps (T, C, 24, 24)."""
        weight = next(self.parameters())
        maps = []
        for frames in pixels.split(FRAMES_PER_CALL):
            values = pixel_values(frames, self.vision_tower.image_size)
            maps.append(feature_maps(self.vision_tower(values.to(weight.device, weight.dtype))))
        return torch.cat(maps)


def pixel_values(pixels: Tensor, size: int) -> Tensor:
    """uint8 frames (T, 3, H, W) -> (T, 3, size, size) in -1 .. 1: bicubic, the aspect ratio is not kept."""
    images = (Image.fromarray(frame.numpy()) for frame in pixels.permute(0, 2, 3, 1))
    resized = np.stack([np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)) for image in images])
    return (torch.from_numpy(resized).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def feature_maps(features: Tensor) -> Tensor:
    """Tower features (T, patches, C) -> (T, C, 24, 24), bilinear, computed in fp32."""
    side = int(features.shape[1] ** 0.5)
    grid = features.unflatten(1, (side, side)).permute(0, 3, 1, 2)  # (T, C, side, side)
    return F.interpolate(grid.float(), (GRID, GRID), mode="bilinear").to(features.dtype)
