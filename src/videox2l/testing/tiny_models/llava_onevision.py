"""A tiny LLaVA-OneVision: SigLIP, a Qwen2 decoder."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
)

from videox2l.testing.tiny_models.parts import CHATML, TEXT, save, tokenizer


def build(directory: Path) -> None:
    """Save the checkpoint: model, tokenizer, processor, chat template."""
    words = tokenizer(CHATML.replace("VIDEO", "<video>\n"), ["<image>", "<video>"])
    vision = dict(
        model_type="siglip_vision_model",
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        vision_use_head=False,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=dict(model_type="qwen2", vocab_size=len(words), **TEXT),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        vision_feature_layer=-1,
        image_grid_pinpoints=[[56, 56]],
    )
    size = {"height": 56, "width": 56}
    save(
        directory,
        LlavaOnevisionForConditionalGeneration(config),
        LlavaOnevisionProcessor(
            LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[56, 56]]),
            words,
            LlavaOnevisionVideoProcessor(size=size),
            num_image_tokens=16,
            vision_feature_select_strategy="full",
            chat_template=words.chat_template,
        ),
    )
