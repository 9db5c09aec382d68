"""The tokenizer of nano: one token for each word of the needle world, in Hugging Face's format."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from videox2l.synthesis.questions import WORD_PATTERN, vocabulary

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<a>")
"""Padding, an unknown word, before the video, after the answer, before the answer."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-cases, cuts into words, numbers, m:ss times and punctuation marks; unknown words become <unk>."""
    words = [*SPECIAL, *vocabulary()]
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="removed", invert=True)
    core.add_special_tokens([AddedToken(word, normalized=False) for word in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def save_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """Write tokenizer.json and tokenizer_config.json."""
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(directory)
    file = directory / "tokenizer_config.json"
    values = json.loads(file.read_text()) | {"clean_up_tokenization_spaces": False}
    file.write_text(json.dumps(values, indent=2) + "\n")
    return tokenizer
