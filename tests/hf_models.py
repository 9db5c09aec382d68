"""Tiny random checkpoints of transformers' own classes, saved whole: model, tokenizer, processor, chat template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
)

WORDS = r"""[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
MERGES = [("\u010a", "\u010a"), ("s", "e"), ("\u0120", "t"), ("F", "r")]  # a double newline is one token, as in Qwen2

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}VIDEO{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

TEXT = dict(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=4096,
    initializer_range=0.3,  # large enough that attention is not flat
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=None,
)


def tokenizer(template: str, special: list[str], **named: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE that splits words as Qwen2's does, with a few merges and a family's special tokens."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) + [first + second for first, second in MERGES]
    tokens = Tokenizer(BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=MERGES))
    tokens.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokens.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>", *special]
    tokens.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokens, eos_token="<|im_end|>", pad_token="<|im_end|>", extra_special_tokens=named
    )
    fast.chat_template = template
    return fast


def llava_onevision(directory: Path) -> None:
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


FAMILIES: dict[str, Callable[[Path], None]] = {"llava_onevision": llava_onevision}


def save(directory: Path, model: Any, processor: Any) -> None:
    """A checkpoint directory as `save_pretrained` writes it."""
    model.save_pretrained(directory)
    processor.save_pretrained(directory)


def build(family: str, directory: Path) -> Path:
    """A family's tiny checkpoint, the same weights every time."""
    torch.manual_seed(0)
    FAMILIES[family](directory)
    return directory
