"""A tiny InternVL3: one tile a frame, a Qwen2 decoder."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
)

from videox2l.testing.tiny_models.parts import CHATML, TEXT, save, tokenizer


def build(directory: Path) -> None:
    """Save the checkpoint: model, tokenizer, processor, chat template."""
    special = ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    words = tokenizer(
        CHATML.replace("VIDEO", "<video>\n"),
        special,
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = InternVLConfig(
        vision_config=dict(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=[56, 56],
            patch_size=[14, 14],
        ),
        text_config=dict(model_type="qwen2", vocab_size=len(words), **TEXT),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    size = {"height": 56, "width": 56}
    save(
        directory,
        InternVLForConditionalGeneration(config),
        InternVLProcessor(
            GotOcr2ImageProcessor(size=size),
            words,
            InternVLVideoProcessor(size=size),
            image_seq_length=4,
            chat_template=words.chat_template,
        ),
    )
