"""Configuration of a Video-XL-2 checkpoint: the published fields, and what the published code has as literals."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from videox2l.errors import ModelError

PROMPT_BEFORE_VIDEO = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
PROMPT_AFTER_VIDEO = "\n{question}<|im_end|>\n<|im_start|>assistant\n"
PROMPT_NEXT_TURN = "{answer}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True)
class VideoXL2Config:
    """Fields of config.json that inference reads; fields of training and of unused modes are ignored.

    mm_hidden_size: channels of the vision tower and of the temporal module.
    visual_placeholder_id: the id that stands for a visual token in the published sequence.
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
    mm_hidden_size: int = 1152
    mm_projector_type: str = "mlp2x_gelu"
    mm_vision_tower: str = "google/siglip-so400m-patch14-384"
    visual_placeholder_id: int = 151654
    prompt_before_video: str = PROMPT_BEFORE_VIDEO
    prompt_after_video: str = PROMPT_AFTER_VIDEO
    prompt_next_turn: str = PROMPT_NEXT_TURN

    @property
    def head_dim(self) -> int:
        """Size of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def from_directory(cls, directory: Path) -> VideoXL2Config:
        """Read config.json of a checkpoint directory.

        Raises: ModelError if a needed field is missing, or one asks for what this adapter does not build.
        """
        values: dict[str, Any] = json.loads((directory / "config.json").read_text())
        rope = values.get("rope_parameters") or {}
        values.setdefault("rope_theta", rope.get("rope_theta", 1e6))
        expected = {
            "mm_projector_type": "mlp2x_gelu",
            "hidden_act": "silu",
            "rope_scaling": None,
            "use_sliding_window": False,
        }
        for name, value in expected.items():
            if values.get(name, value) != value:
                raise ModelError(f"config.json of {directory} has {name}={values[name]!r}, and only {value!r} is built")
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{name: value for name, value in values.items() if name in known})
        except TypeError as error:
            raise ModelError(f"config.json of {directory} is incomplete: {error}") from error
