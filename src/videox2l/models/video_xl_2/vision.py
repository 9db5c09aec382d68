"""From frames to what Video-XL-2's temporal module takes: SigLIP tower, a 24x24 feature map for each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import SiglipVisionConfig, SiglipVisionModel

from videox2l.errors import ModelError
from videox2l.models.llava_qwen.vision import PatchTower, VisionTower, square_grid, tower_config
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
    values = tower_config(directory, config.mm_vision_tower, "siglip-so400m-patch14-384", SIGLIP_SO400M_384)
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


class FrameEncoder(VisionTower):
    """Frames to feature maps: the tower without its last block and pooling head, under its official name.

    values: configuration of the tower.
    """

    def __init__(self, values: dict[str, Any]):
        config = SiglipVisionConfig(**values, vision_use_head=False)
        config.num_hidden_layers -= 1
        super().__init__(PatchTower(SiglipVisionModel(config)))
        self.image_size = config.image_size

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 frames (T, 3, H, W) -> feature maps (T, C, 24, 24)."""
        weight = next(self.parameters())
        maps = []
        for frames in pixels.split(FRAMES_PER_CALL):
            values = pixel_values(frames, self.image_size)
            maps.append(feature_maps(self.vision_tower(values.to(weight.device, weight.dtype))))
        return torch.cat(maps)


def pixel_values(pixels: Tensor, size: int) -> Tensor:
    """uint8 frames (T, 3, H, W) -> (T, 3, size, size) in -1 .. 1: bicubic, the aspect ratio is not kept."""
    images = (Image.fromarray(frame.numpy()) for frame in pixels.permute(0, 2, 3, 1))
    resized = np.stack([np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)) for image in images])
    return (torch.from_numpy(resized).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def feature_maps(features: Tensor) -> Tensor:
    """Tower features (T, patches, C) -> (T, C, 24, 24), bilinear, computed in fp32."""
    maps = F.interpolate(square_grid(features).float(), (GRID, GRID), mode="bilinear")
    return maps.to(features.dtype)
