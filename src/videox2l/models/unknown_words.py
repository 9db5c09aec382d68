"""What of a text a tokenizer has no token for."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase


def unknown_words(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[str, ...]:
    """Words that become the unknown token, in the order they stand."""
    unknown = tokenizer.unk_token_id
    if unknown is None or not tokenizer.is_fast:
        return ()
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return tuple(dict.fromkeys(text[start:end] for token, (start, end) in spans if token == unknown))
