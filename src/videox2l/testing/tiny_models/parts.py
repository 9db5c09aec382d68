"""What the tiny models are made of: a tokenizer, chat templates, the size of a decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

WORDS = r"""[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
MERGES = [("\u010a", "\u010a"), ("s", "e"), ("\u0120", "t"), ("F", "r")]  # a double newline is one token, as in Qwen2

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}VIDEO{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template; VIDEO is to be replaced by what a family writes for a video."""

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
"""A decoder of three layers and 4,096 positions, for a text_config."""


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


def qwen_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the Qwen VL models."""
    template = CHATML.replace("VIDEO", "<|vision_start|><|video_pad|><|vision_end|>")
    return tokenizer(template, ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"])


def qwen_ids(words: PreTrainedTokenizerFast) -> dict[str, int]:
    """The ids of the visual marks, by the names that Qwen's configurations give them."""
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    names |= {"vision_start_token_id": "vision_start", "vision_end_token_id": "vision_end"}
    return {key: words.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}


def save(directory: Path, model: Any, processor: Any) -> None:
    """A checkpoint directory as `save_pretrained` writes it."""
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
