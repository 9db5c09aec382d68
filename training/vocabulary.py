"""Words and their token ids, and how text is cut into them: what training has of a model's tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence

UNKNOWN = "<unk>"


class Vocabulary:
    """One token for each word.

    words: in the order of their ids, UNKNOWN among them.
    pattern: a regular expression of what one token is, in lower case.
    """

    def __init__(self, words: Sequence[str], pattern: str):
        self.words, self.pattern = list(words), pattern
        self.ids = {word: index for index, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str) -> list[int]:
        """Token ids, as the tokenizer gives them."""
        unknown = self.ids[UNKNOWN]
        return [self.ids.get(word, unknown) for word in re.findall(self.pattern, text.lower())]
