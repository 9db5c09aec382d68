"""Configuration of a `llava_qwen` checkpoint: the fields that Video-XL and Video-XL-2 share, read and checked once."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from videox2l.errors import ModelError


@dataclass(frozen=True)
class LlavaQwenConfig:
    """Fields of config.json that inference reads; fields of training and of unused modes are ignored.

    vocab_size: rows of the word table.
    hidden_size: width of the decoder.
    intermediate_size: inner width of its MLPs.
    num_hidden_layers: its layers.
    num_attention_heads: query heads of a layer.
    num_key_value_heads: KV heads of a layer.
    max_position_embeddings: the trained context, tokens.
    rms_norm_eps: added to the mean square in its norms.
    rope_theta: base of RoPE's angles.
    tie_word_embeddings: whether the logits are formed with the word table, for want of an `lm_head`.
    eos_token_id: ids that end an answer, where generation_config.json names none.
    mm_hidden_size: channels of the vision tower.
    mm_vision_tower: hub name of the published vision tower, whose configuration the checkpoint does not carry.
    prompt_before_video: text of the prompt up to the video.
    prompt_after_video: text from the video to the answer; {question} stands for the question.
    prompt_next_turn: text from one answer to the next; {answer} stands for the earlier answer, {question} for the new
        question.
    Raises: ModelError from `from_directory`.
    """

    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"hidden_act": ("silu",), "mm_projector_type": ("mlp2x_gelu",)}
    """The values that fields of config.json may have, the default first; other values are not built here."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int = 32768
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6
    tie_word_embeddings: bool = False
    eos_token_id: int | list[int] | None = None
    mm_hidden_size: int = 1024
    mm_vision_tower: str = ""
    prompt_before_video: str = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    prompt_after_video: str = "\n{question}<|im_end|>\n<|im_start|>assistant\n"
    prompt_next_turn: str = "{answer}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"

    @property
    def head_dim(self) -> int:
        """Size of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def from_directory(cls, directory: Path) -> Self:
        """Read config.json of a checkpoint directory.

        Raises: ModelError if a needed field is missing, or one asks for what is not built here.
        """
        values: dict[str, Any] = json.loads((directory / "config.json").read_text())
        rope = values.get("rope_parameters") or {}
        values.setdefault("rope_theta", rope.get("rope_theta", cls.rope_theta))
        for name, built in cls.choices.items():
            if values.get(name, built[0]) not in built:
                known = " or ".join(map(repr, built))
                raise ModelError(f"config.json of {directory} has {name}={values[name]!r}, and only {known} is built")
        if missing := [field.name for field in fields(cls) if field.default is MISSING and field.name not in values]:
            raise ModelError(f"config.json of {directory} lacks {', '.join(missing)}: download it again")
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
