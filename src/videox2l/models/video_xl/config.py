"""Configuration of a Video-XL checkpoint: the published fields, and named departures that default to them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from videox2l.errors import ModelError

PROMPT_BEFORE_VIDEO = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
PROMPT_AFTER_VIDEO = "\n{question}\n<|im_end|>\n<|im_start|>assistant\n"
PROMPT_NEXT_TURN = "{answer}<|im_end|>\n<|im_start|>user\n{question}\n<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True)
class VideoXLConfig:
    """Fields of config.json that inference reads; fields of training and of unused modes are ignored.

    The fields from `mm_token_norm` on are departures that the published architecture does not have; left at their
    defaults they change nothing.

    mm_token_norm: "rms" normalises each pooled visual token, without a weight.
    frame_time_first_token_id: the embedding of the time text token that fits a frame's second is added to the
        frame's visual tokens; this is the id of the first one, `frame_time_tokens` their number,
        `frame_time_step_s` the seconds between two.
    beacon_embed_ratios: a summary embedding for each of these ratios; another ratio takes the nearest in log scale.
    beacon_embed_mean: a summary token starts from the mean of the visual tokens it summarises.
    beacon_layout: "carry" counts raw tokens on from the previous chunk where a ratio does not divide the chunk
        (published); "even" spreads round(n / ratio) summaries, at least one, over each chunk.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    hidden_act: str = "silu"
    max_position_embeddings: int = 32768
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6
    tie_word_embeddings: bool = False
    eos_token_id: int | list[int] | None = None
    torch_dtype: str | None = None
    mm_hidden_size: int = 1024
    mm_projector_type: str = "mlp2x_gelu"
    mm_vision_tower: str = "openai/clip-vit-large-patch14-336"
    mm_vision_select_layer: int = -2
    mm_spatial_pool_stride: int = 2
    beacon_param: tuple[str, ...] = ("q", "k", "v")

    mm_token_norm: Literal["rms"] | None = None
    frame_time_first_token_id: int | None = None
    frame_time_tokens: int = 0
    frame_time_step_s: float = 1.0
    beacon_embed_ratios: tuple[int, ...] | None = None
    beacon_embed_mean: bool = False
    beacon_layout: Literal["carry", "even"] = "carry"
    prompt_before_video: str = PROMPT_BEFORE_VIDEO
    prompt_after_video: str = PROMPT_AFTER_VIDEO
    prompt_next_turn: str = PROMPT_NEXT_TURN

    @property
    def head_dim(self) -> int:
        """Size of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def from_directory(cls, directory: Path) -> VideoXLConfig:
        """Read config.json of a checkpoint directory.

        Raises: ModelError if a needed field is missing, or one asks for what this adapter does not build.
        """
        values: dict[str, Any] = json.loads((directory / "config.json").read_text())
        rope = values.get("rope_parameters") or {}
        values.setdefault("rope_theta", rope.get("rope_theta", 1e6))
        values.setdefault("torch_dtype", values.get("dtype"))
        expected = {"mm_projector_type": "mlp2x_gelu", "hidden_act": "silu"}
        for name, value in expected.items():
            if values.get(name, value) != value:
                raise ModelError(f"config.json of {directory} has {name}={values[name]!r}, and only {value!r} is built")
        if set(values.get("beacon_param", "qkv")) != set("qkv"):
            raise ModelError(f"config.json of {directory} has beacon_param={values['beacon_param']}, not q, k and v")
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{name: value for name, value in values.items() if name in known})
        except TypeError as error:
            raise ModelError(f"config.json of {directory} is incomplete: {error}") from error
