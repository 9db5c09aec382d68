"""Configuration of a Video-XL checkpoint: the published fields, and named departures that default to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from videox2l.models.llava_qwen.config import LlavaQwenConfig


@dataclass(frozen=True)
class VideoXLConfig(LlavaQwenConfig):
    """Fields of config.json that inference reads: those of `LlavaQwenConfig`, and these.

    mm_vision_select_layer: which hidden state of the vision tower the features are; -2 is the last but one.
    mm_spatial_pool_stride: side of the square of patches that one visual token averages.

    The others are departures that the published architecture does not have; left at their defaults they change
    nothing.

    mm_token_norm: "rms" normalises each pooled visual token, without a weight.
    frame_time_first_token_id: the embedding of the time text token that fits a frame's second is added to the
        frame's visual tokens; this is the id of the first one.
    frame_time_tokens: how many such tokens there are.
    frame_time_step_s: seconds between two of them.
    beacon_embed_ratios: a summary embedding for each of these ratios; another ratio takes the nearest in log scale.
    beacon_embed_mean: a summary token starts from the mean of the visual tokens it summarises.
    beacon_layout: "carry" counts raw tokens on from the previous chunk where a ratio does not divide the chunk
        (published); "even" spreads round(n / ratio) summaries, at least one, over each chunk.
    """

    choices: ClassVar[dict[str, tuple[Any, ...]]] = LlavaQwenConfig.choices | {
        "beacon_param": (["q", "k", "v"],),
        "mm_token_norm": (None, "rms"),
        "beacon_layout": ("carry", "even"),
    }

    mm_vision_tower: str = "openai/clip-vit-large-patch14-336"
    prompt_after_video: str = "\n{question}\n<|im_end|>\n<|im_start|>assistant\n"
    prompt_next_turn: str = "{answer}<|im_end|>\n<|im_start|>user\n{question}\n<|im_end|>\n<|im_start|>assistant\n"
    mm_vision_select_layer: int = -2
    mm_spatial_pool_stride: int = 2

    mm_token_norm: Literal["rms"] | None = None
    frame_time_first_token_id: int | None = None
    frame_time_tokens: int = 0
    frame_time_step_s: float = 1.0
    beacon_embed_ratios: tuple[int, ...] | None = None
    beacon_embed_mean: bool = False
    beacon_layout: Literal["carry", "even"] = "carry"
