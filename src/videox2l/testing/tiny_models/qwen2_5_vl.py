"""A tiny Qwen2.5-VL: a vision tower with windows, M-RoPE."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from videox2l.testing.tiny_models.parts import TEXT, qwen_ids, qwen_tokenizer, save


def build(directory: Path) -> None:
    """Save the checkpoint: model, tokenizer, processor, chat template."""
    words = qwen_tokenizer()
    config = Qwen2_5_VLConfig(
        vision_config=dict(
            depth=2,
            hidden_size=32,
            intermediate_size=32,
            num_heads=2,
            out_hidden_size=32,
            patch_size=14,
            spatial_merge_size=2,
            temporal_patch_size=2,
            window_size=56,
            fullatt_block_indexes=[1],
            tokens_per_second=2,
        ),
        text_config=dict(
            vocab_size=len(words),
            rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 1, 1]),
            **TEXT,
        ),
        **qwen_ids(words),
    )
    size = {"shortest_edge": 56 * 56, "longest_edge": 84 * 112}
    save(
        directory,
        Qwen2_5_VLForConditionalGeneration(config),
        Qwen2_5_VLProcessor(
            Qwen2VLImageProcessor(size=size), words, Qwen2VLVideoProcessor(size=size), chat_template=words.chat_template
        ),
    )
