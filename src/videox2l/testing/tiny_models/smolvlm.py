"""A tiny SmolVLM2: one tile a frame, a Llama decoder."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from videox2l.testing.tiny_models.parts import CHATML, TEXT, save, tokenizer


def build(directory: Path) -> None:
    """Save the checkpoint: model, tokenizer, processor, chat template."""
    special = ["<image>", "<video>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    words = tokenizer(CHATML.replace("VIDEO", "<video>"), special)
    config = SmolVLMConfig(
        vision_config=dict(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=56,
            patch_size=14,
        ),
        text_config=dict(model_type="llama", vocab_size=len(words), **TEXT),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    size, largest = {"longest_edge": 112}, {"longest_edge": 56}
    save(
        directory,
        SmolVLMForConditionalGeneration(config),
        SmolVLMProcessor(
            SmolVLMImageProcessor(size=size, max_image_size=largest),
            words,
            SmolVLMVideoProcessor(size=size, max_image_size=largest),
            image_seq_len=4,
            chat_template=words.chat_template,
        ),
    )
