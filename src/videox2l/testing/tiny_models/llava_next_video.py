"""A tiny LLaVA-NeXT-Video: CLIP, a Llama decoder, Vicuna's template."""

from __future__ import annotations

from pathlib import Path

from tokenizers import processors
from transformers import (
    LlavaNextImageProcessor,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaNextVideoProcessor,
    LlavaNextVideoVideoProcessor,
)

from videox2l.testing.tiny_models.parts import TEXT, save, tokenizer


def build(directory: Path) -> None:
    """Save the checkpoint: model, tokenizer, processor, chat template."""
    words = tokenizer("", ["<image>", "<video>", "<s>"])
    words.bos_token = "<s>"
    words._tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", words.convert_tokens_to_ids("<s>"))]
    )
    words.chat_template = (  # Vicuna's, which leaves <s> to the tokenizer
        "{% for message in messages %}{{ message['role'].upper() }}: "
        "{% for part in message['content'] %}{% if part['type'] == 'video' %}<video>\n{% else %}{{ part['text'] }}"
        "{% endif %}{% endfor %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )
    config = LlavaNextVideoConfig(
        vision_config=dict(
            model_type="clip_vision_model",
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=56,
            patch_size=14,
        ),
        text_config=dict(model_type="llama", vocab_size=len(words), **TEXT),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[56, 56]],
    )
    size, crop = {"shortest_edge": 56}, {"height": 56, "width": 56}
    save(
        directory,
        LlavaNextVideoForConditionalGeneration(config),
        LlavaNextVideoProcessor(
            LlavaNextVideoVideoProcessor(size=size, crop_size=crop),
            LlavaNextImageProcessor(size=size, crop_size=crop, image_grid_pinpoints=[[56, 56]]),
            words,
            patch_size=14,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=words.chat_template,
        ),
    )
