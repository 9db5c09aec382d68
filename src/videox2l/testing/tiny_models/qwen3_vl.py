"""A tiny Qwen3-VL: DeepStack from two depths, interleaved M-RoPE."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from videox2l.testing.tiny_models.parts import TEXT, qwen_ids, qwen_tokenizer, save


def build(directory: Path) -> None:
    """Save the checkpoint: model, tokenizer, processor, chat template."""
    words = qwen_tokenizer()
    config = Qwen3VLConfig(
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
            deepstack_visual_indexes=[0, 1],
        ),
        text_config=dict(
            vocab_size=len(words),
            head_dim=8,
            rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 1, 1], mrope_interleaved=True),
            **TEXT,
        ),
        **qwen_ids(words),
    )
    video_size = {"shortest_edge": 64 * 64, "longest_edge": 12 * 72 * 72}
    save(
        directory,
        Qwen3VLForConditionalGeneration(config),
        Qwen3VLProcessor(
            Qwen2VLImageProcessor(patch_size=16),
            words,
            Qwen3VLVideoProcessor(size=video_size),
            chat_template=words.chat_template,
        ),
    )


def published_prompt(text: str) -> str:
    """The chat template's text as the processor the model was published with has it: vision marks around frames alone.

    That of transformers 5.23 leaves a pair around the whole video.
    """
    return text.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>")
