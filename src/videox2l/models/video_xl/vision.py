"""From frames to Video-XL's visual tokens: CLIP processor, vision tower, projector, 2x2 average pooling."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from videox2l.errors import ModelError
from videox2l.models.llava_qwen.vision import PatchTower, VisionTower, pool, tower_config
from videox2l.models.video_xl.config import VideoXLConfig

if TYPE_CHECKING:
    from transformers import CLIPImageProcessorPil

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
    return tower_config(directory, config.mm_vision_tower, "clip-vit-large-patch14-336", CLIP_LARGE_336)


def image_processor(directory: Path, image_size: int) -> CLIPImageProcessorPil:
    """The checkpoint's CLIP image processor (PIL resampling, as in training), or CLIP's own for the tower's size."""
    from transformers import CLIPImageProcessorPil

    if (directory / "preprocessor_config.json").is_file():
        return CLIPImageProcessorPil.from_pretrained(directory)
    return CLIPImageProcessorPil(
        size={"shortest_edge": image_size}, crop_size={"height": image_size, "width": image_size}
    )


def build_tower(values: dict[str, Any], config: VideoXLConfig) -> VisionTower:
    """The vision tower that a vision configuration describes.

    Blocks behind the selected layer are not built, so their parameters in a checkpoint are left out.
    """
    kind = values.get("model_type", "clip_vision_model")
    if kind == "conv_vision_model":
        from videox2l.models.video_xl.conv_tower import ConvTower, ConvTowerConfig

        return VisionTower(ConvTower(ConvTowerConfig.from_dict(values)))
    if kind == "clip_vision_model":
        from transformers import CLIPVisionConfig, CLIPVisionModel

        clip, selected = CLIPVisionConfig(**values), config.mm_vision_select_layer
        clip.num_hidden_layers = selected if selected >= 0 else clip.num_hidden_layers + 1 + selected
        return VisionTower(PatchTower(CLIPVisionModel(clip), class_tokens=1))
    raise ModelError(f"vision tower type {kind!r} is unknown: it can be clip_vision_model or conv_vision_model")


class VisualEncoder:
    """Frames to pooled visual tokens.

    tower, projector: the model's own modules. make_processor: makes what makes frames the tower's pixels, called for
    the first frames: importing transformers' takes longer than answering a question from a stored index, which needs
    none. stride: side of the square of patches that a visual token averages.
    """

    def __init__(
        self,
        tower: nn.Module,
        projector: nn.Module,
        make_processor: Callable[[], CLIPImageProcessorPil],
        stride: int,
    ):
        self.tower, self.projector, self.stride = tower, projector, stride
        self._make_processor = make_processor

    @cached_property
    def processor(self) -> CLIPImageProcessorPil:
        """What makes frames the tower's pixels."""
        return self._make_processor()

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 frames (T, 3, H, W) -> (T, tokens per frame, hidden)."""
        weight = next(self.projector.parameters())
        tokens = []
        for frames in pixels.split(FRAMES_PER_CALL):
            images = self.processor(list(frames.numpy()), return_tensors="pt", input_data_format="channels_first")
            features = self.tower(images["pixel_values"].to(weight.device, weight.dtype))
            tokens.append(pool(self.projector(features), self.stride))
        return torch.cat(tokens)
