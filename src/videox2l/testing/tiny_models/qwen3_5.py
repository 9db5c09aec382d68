"""A tiny Qwen3.5: three layers of gated delta net to one of attention, RoPE on a quarter of its heads."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    Qwen2VLImageProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from videox2l.testing.tiny_models.parts import TEXT, qwen_ids, qwen_tokenizer, save
from videox2l.testing.tiny_models.qwen3_vl import published_prompt

__all__ = ["build", "published_prompt"]


def build(directory: Path) -> None:
    """Save the checkpoint: model, tokenizer, processor, chat template."""
    words = qwen_tokenizer()
    config = Qwen3_5Config(
        vision_config=dict(
            depth=3,
            hidden_size=32,
            intermediate_size=32,
            num_heads=2,
            out_hidden_size=32,
            patch_size=16,
            spatial_merge_size=2,
            temporal_patch_size=2,
            num_position_embeddings=64,
        ),
        text_config=TEXT
        | dict(
            vocab_size=len(words),
            num_hidden_layers=4,
            head_dim=32,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            rope_parameters=dict(
                rope_type="default",
                rope_theta=1e4,
                partial_rotary_factor=0.25,
                mrope_section=[2, 1, 1],
                mrope_interleaved=True,
            ),
        ),
        **qwen_ids(words),
    )
    save(
        directory,
        Qwen3_5ForConditionalGeneration(config),
        Qwen3VLProcessor(
            Qwen2VLImageProcessor(patch_size=16),
            words,
            Qwen3VLVideoProcessor(size={"shortest_edge": 64 * 64, "longest_edge": 12 * 72 * 72}),
            chat_template=words.chat_template,
        ),
    )
