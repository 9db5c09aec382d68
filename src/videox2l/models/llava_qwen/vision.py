"""What the vision towers of `llava_qwen` checkpoints share: their configuration, their official names, pooling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional as F

from videox2l.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def tower_config(directory: Path, tower: str, published: str, published_config: dict[str, Any]) -> dict[str, Any]:
    """The tower's configuration: vision_config.json of the checkpoint, or the published tower's.

    tower: hub name of the tower, from config.json. published: part of the published tower's hub name.
    published_config: its configuration, which published checkpoints do not carry.
    Raises: ModelError if there is neither.
    """
    file = directory / "vision_config.json"
    if file.is_file():
        return json.loads(file.read_text())
    if published in tower:
        return published_config
    raise ModelError(
        f"{directory} has no vision_config.json and its vision tower {tower!r} is not the published {published}: put "
        "the tower's config.json there under that name"
    )


class PatchTower(nn.Module):
    """A vision transformer's patch features, without its final norm.

    model: of transformers, with only the blocks that are run. class_tokens: how many tokens stand before the patches.
    """

    def __init__(self, model: PreTrainedModel, class_tokens: int = 0):
        super().__init__()
        # official names have .vision_model. here; transformers had it too before version 5
        self.vision_model = getattr(model, "vision_model", model)
        self.vision_model.post_layernorm = nn.Identity()
        self.class_tokens = class_tokens

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Pixels (T, 3, S, S) -> features (T, patches, C), row-major."""
        return self.vision_model(pixel_values=pixel_values).last_hidden_state[:, self.class_tokens :]


class VisionTower(nn.Module):
    """A tower under its official parameter names, `vision_tower.vision_tower.*`."""

    def __init__(self, tower: nn.Module):
        super().__init__()
        self.vision_tower = tower

    def forward(self, pixel_values: Tensor) -> Tensor:
        """The tower's features."""
        return self.vision_tower(pixel_values)


def square_grid(tokens: Tensor) -> Tensor:
    """Tokens of square grids, row-major (T, n, C) -> (T, C, side, side)."""
    side = int(tokens.shape[1] ** 0.5)
    return tokens.unflatten(1, (side, side)).permute(0, 3, 1, 2)


def pool(tokens: Tensor, stride: int) -> Tensor:
    """Average-pool square grids of tokens: (T, n, C) -> (T, n / stride^2, C), row-major."""
    return F.avg_pool2d(square_grid(tokens), stride).flatten(2).transpose(1, 2)
