"""An answer's tokens to text, piece by piece."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase


class AnswerText:
    """The text of one answer in pieces, as its tokens come.

    A piece is held back while it ends inside a character, or in what may become a stop string.

    tokenizer: the model's own.
    stop: strings that end the answer and are left out of it.
    is_stopped: whether one of them has ended it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: tuple[str, ...]):
        self.is_stopped = False
        self._tokenizer, self._stop = tokenizer, stop
        self._tokens: list[int] = []
        self._sent = ""

    def take(self, token: int) -> str:
        """The piece that a token completes, empty where there is none yet."""
        self._tokens.append(token)
        text = self._decoded()
        cut = min((place for place in map(text.find, self._stop) if place >= 0), default=None)
        if cut is not None:
            self.is_stopped = True
            return text[len(self._sent) : cut]
        ready = len(text) - max((tail_match(text, string) for string in self._stop), default=0)
        if text.endswith("\ufffd") or ready <= len(self._sent):
            return ""
        piece, self._sent = text[len(self._sent) : ready], text[:ready]
        return piece

    def rest(self) -> str:
        """What was held back, once no token follows."""
        return "" if self.is_stopped else self._decoded()[len(self._sent) :]

    def _decoded(self) -> str:
        return self._tokenizer.decode(self._tokens, skip_special_tokens=True)  # type: ignore[return-value]


def tail_match(text: str, stop: str) -> int:
    """Length of the longest end of the text that begins the stop string."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
