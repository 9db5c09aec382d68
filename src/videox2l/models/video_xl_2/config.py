"""Configuration of a Video-XL-2 checkpoint: the published fields, and what the published code has as literals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from videox2l.models.llava_qwen.config import LlavaQwenConfig


@dataclass(frozen=True)
class VideoXL2Config(LlavaQwenConfig):
    """Fields of config.json that inference reads: those of `LlavaQwenConfig`, and this one.

    visual_placeholder_id: the id that stands for a visual token in the published sequence.
    """

    choices: ClassVar[dict[str, tuple[Any, ...]]] = LlavaQwenConfig.choices | {
        "rope_scaling": (None,),
        "use_sliding_window": (False,),
    }

    mm_hidden_size: int = 1152
    mm_vision_tower: str = "google/siglip-so400m-patch14-384"
    visual_placeholder_id: int = 151654
