"""Which subtitles hold the words of a question: BM25 over cues."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from videox2l.tracks.languages import LANGUAGES
from videox2l.types import Cue

K1 = 1.5
"""BM25's: how little a word's second time counts."""
NEAR_S = 5.0
"""Cues that are so close may hold parts of one sentence."""
NEAR_WEIGHT = 0.7
"""How much a word counts that is not in a cue but beside it; all such count no more than the cue's own."""

UNSPACED = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Letters of Thai, Japanese, Chinese and Korean, which write several words without a space."""
WORD = re.compile(rf"[{UNSPACED}]+|[^\W_{UNSPACED}]+")
QUOTE = re.compile(r"[\"“„«「](.+?)[\"”“»」]|(?<!\w)[\u2018'](.+?)[\u2019'](?!\w)")

LEAST_SMALL_WORDS = 0.15
"""The share of a text's words by which its language is guessed."""

OF_QUESTIONS = """
    mention mentioned mentions moment said say saying says scene screen shown spoken subtitle subtitles talk talked
    talking talks tell telling tells told video word words
"""
"""English words by which a question speaks of a video, and not of what is said in it."""


class CueSearch:
    """Cues in time order, prepared for questions about them.

    language: its two-letter code, for word forms and for words that mean nothing in a search; None guesses it.
    """

    def __init__(self, cues: Sequence[Cue], language: str | None = None):
        from bm25s import BM25  # half a second that only subtitles need

        self.language = language or guess_language(" ".join(cue.text for cue in cues))
        words = [terms(cue.text, self.language) for cue in cues]
        documents = [each + pairs(each) for each in words]
        gaps_s = torch.tensor([later.start_s - earlier.end_s for earlier, later in pairwise(cues)])
        self._is_near = gaps_s <= NEAR_S  # (cues - 1,)
        for number in self._is_near.nonzero().flatten().tolist():  # a phrase may begin in a cue and end in the next
            across = pairs([*words[number][-1:], *words[number + 1][:1]])
            documents[number] += across
            documents[number + 1] += across
        self._cues, self._cues_with = len(cues), Counter(term for document in documents for term in set(document))
        self._bm25 = BM25(k1=K1, b=0.0, method="lucene")
        if self._cues_with:
            self._bm25.index(documents, show_progress=False)

    def shares(self, question: str) -> Tensor:
        """How much of what a question says the words of each cue are, from 0 to 1, (cues,).

        It is the cue's BM25 score over that of a cue with all of the question's words: rare words count more, and those
        that no cue holds count most. What the question quotes is looked for alone.
        """
        asked = self.asked(question)
        own, near_by = torch.zeros(self._cues), torch.zeros(self._cues)
        for term in asked:
            if term in self._cues_with:
                score = torch.from_numpy(self._bm25.get_scores([term]))  # (cues,)
                near = torch.zeros(self._cues)
                near[:-1] = torch.where(self._is_near, score[1:], 0)
                near[1:] = torch.maximum(near[1:], torch.where(self._is_near, score[:-1], 0))
                own += score
                near_by += (NEAR_WEIGHT * near - score).clamp(min=0)
        best = sum(map(self._rarity, asked)) / (1 + K1)
        return ((own + torch.minimum(own, near_by)) / best).clamp(max=1) if best else own

    def asked(self, question: str) -> list[str]:
        """The terms that are looked for: a quotation's of two words or more, else all but the words of any question."""
        quotes = [terms("".join(quote), self.language) for quote in QUOTE.findall(question)]
        if phrases := [words for words in quotes if len(words) > 1]:
            return sorted({term for words in phrases for term in (*words, *pairs(words))})
        return sorted(set(terms(question, self.language, small_words().get(self.language or "en", frozenset()))))

    def _rarity(self, term: str) -> float:
        found = self._cues_with[term]
        return math.log(1 + (self._cues - found + 0.5) / (found + 0.5))


def terms(text: str, language: str | None, left_out: frozenset[str] = frozenset()) -> list[str]:
    """A text's words without their endings, but for those left out; pairs of letters where words are not spaced."""
    found: list[str] = []
    for word in WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if re.match(f"[{UNSPACED}]", word):
            found += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
        elif word not in left_out:
            found.append(stem(word, language))
    return found


def pairs(words: Sequence[str]) -> list[str]:
    """Terms for words that follow each other, by which a phrase is told from its words in another order."""
    return [f"{first} {second}" for first, second in pairwise(words)]


@lru_cache(maxsize=2**16)
def stem(word: str, language: str | None) -> str:
    """A word without its ending, where there are rules for the language."""
    import snowballstemmer

    name = LANGUAGES.get(language or "", ("", ""))[0]
    # a new one each time, since a stemmer may not be used by several threads
    return snowballstemmer.stemmer(name).stemWord(word) if name in snowballstemmer.algorithms() else word


@cache
def small_words() -> dict[str, frozenset[str]]:
    """Words that mean nothing in a search, by language, as far as there are lists."""
    from bm25s import stopwords

    lists = {code: getattr(stopwords, f"STOPWORDS_{name.upper()}", ()) for code, (name, _) in LANGUAGES.items()}
    lists["en"] = (*stopwords.STOPWORDS_EN_PLUS, *OF_QUESTIONS.split())
    return {code: frozenset(words) for code, words in lists.items() if words}


def guess_language(text: str) -> str | None:
    """The language whose small words a text is full of; None where it has few of any."""
    words = WORD.findall(text.casefold())
    counts = {code: sum(word in small for word in words) for code, small in small_words().items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] > LEAST_SMALL_WORDS * len(words) else None
