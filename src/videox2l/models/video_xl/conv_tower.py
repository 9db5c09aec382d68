"""nano's vision tower: a small convolutional one in CLIP's place, for frames squeezed to a square."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ConvTowerConfig:
    """Fields of vision_config.json with model_type "conv_vision_model".

    image_size: side of the square input in pixels. patch_size: pixels a side that one feature stands for, 16.
    channels: after the stem and after each halving of the resolution; the last is the feature size.
    """

    image_size: int = 64
    patch_size: int = 16
    channels: tuple[int, ...] = (32, 64, 128, 128)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConvTowerConfig:
        """From the JSON of vision_config.json; fields of other readers are left out."""
        known = {field.name for field in fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        return cls(**kept | ({"channels": tuple(kept["channels"])} if "channels" in kept else {}))

    @property
    def hidden_size(self) -> int:
        """Size of a patch feature."""
        return self.channels[-1]


class ConvBlock(nn.Module):
    """3x3 convolution that halves the resolution, then a residual one that keeps it."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.down = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False)
        self.down_norm = nn.GroupNorm(8, channels_out)
        self.refine = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.refine_norm = nn.GroupNorm(8, channels_out)

    def forward(self, images: Tensor) -> Tensor:
        """(T, channels_in, H, W) -> (T, channels_out, H / 2, W / 2)."""
        images = F.silu(self.down_norm(self.down(images)))
        return images + F.silu(self.refine_norm(self.refine(images)))


class ConvTower(nn.Module):
    """Pixels (T, 3, S, S) -> patch features (T, (S / 16)^2, C), row-major.

    The learned position of each patch tells the decoder which part of the frame a token shows.
    """

    def __init__(self, config: ConvTowerConfig):
        super().__init__()
        stem, *rest = config.channels
        self.out_features = config.hidden_size
        self.stem = nn.Conv2d(3, stem, 5, stride=2, padding=2, bias=False)
        self.stem_norm = nn.GroupNorm(8, stem)
        sizes = zip(config.channels, rest, strict=False)
        self.blocks = nn.ModuleList(ConvBlock(before, after) for before, after in sizes)
        patches = (config.image_size // config.patch_size) ** 2
        self.position_embedding = nn.Parameter(torch.zeros(patches, config.hidden_size))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Pixels (T, 3, S, S) -> features (T, patches, C), row-major."""
        features = F.silu(self.stem_norm(self.stem(pixel_values)))
        for block in self.blocks:
            features = block(features)
        return features.flatten(2).transpose(1, 2) + self.position_embedding
