"""Questions and caches to tokens, one at a time; several answers share a run of the decoder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from videox2l.errors import SettingsError
from videox2l.kv.cache import KVCache
from videox2l.models.base import MLLM, Decoding
from videox2l.models.forward import Forward


@dataclass(frozen=True)
class Generation:
    """How an answer is decoded; each field means what it means in transformers' GenerationConfig.

    max_new_tokens: the longest answer, in tokens; 1 or more. Default 64.
    temperature: the logits are divided by it before a token is sampled; 0, the default, always takes the most likely
        token (greedy decoding). None samples as the checkpoint's generation_config.json says, greedily if it does not.
    top_k: sample among so many most likely tokens; 0 is all of them. None, the default, is the checkpoint's own value
        if the temperature is, else 0.
    top_p: sample among the smallest set of tokens whose probabilities add up to so much, above 0 and up to 1; 1 is all
        of them. None, the default, is the checkpoint's own value if the temperature is, else 1.
    repetition_penalty: above 1, tokens of the question and of the answer so far become less likely; 1 changes nothing.
        None, the default, is the checkpoint's own value, whatever the temperature.
    stop: strings that end the answer and are left out of it. Default: none.
    seed: of the sampling; the same seed gives the same answer. From -2**63 up to 2**64 - 1; default 0.
    Raises: SettingsError if a value is out of its domain.
    """

    max_new_tokens: int = 64
    temperature: float | None = 0.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise SettingsError(f"max_new_tokens={self.max_new_tokens} leaves no room for an answer: pass 1 or more")
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise SettingsError(
                f"temperature={self.temperature} is not a temperature: pass 0 for greedy decoding, or a number above 0"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise SettingsError(f"top_p={self.top_p} is not a probability: pass a value above 0 and up to 1")
        if self.top_k is not None and self.top_k < 0:
            raise SettingsError(f"top_k={self.top_k} is negative: pass 0 for all tokens, or more")
        if self.repetition_penalty is not None and not 0 < self.repetition_penalty < math.inf:
            raise SettingsError(
                f"repetition_penalty={self.repetition_penalty} is not a penalty: pass a number above 0, 1 for none"
            )
        if isinstance(self.stop, str) or not all(self.stop):
            raise SettingsError(
                f"stop={self.stop!r} is not a tuple of strings with text in them: pass for example ('###',)"
            )

        if not -(2**63) <= self.seed < 2**64:
            raise SettingsError(f"seed={self.seed} does not fit into 64 bits: pass a smaller number")

    def decoding(self, own: Decoding) -> Decoding:
        """How a token is chosen by these settings, on a checkpoint with a way of its own."""
        sampling = own if self.temperature is None else Decoding(self.temperature)
        penalty = self.repetition_penalty
        return Decoding(
            sampling.temperature,
            sampling.top_k if self.top_k is None else self.top_k,
            sampling.top_p if self.top_p is None else self.top_p,
            own.repetition_penalty if penalty is None else penalty,
        )


def logits_processors(decoding: Decoding) -> LogitsProcessorList:
    """transformers' logits processors, in the order `generate` applies them."""
    processors = LogitsProcessorList()
    if decoding.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.temperature > 0:
        if decoding.temperature != 1.0:
            processors.append(TemperatureLogitsWarper(decoding.temperature))
        if decoding.top_k:
            processors.append(TopKLogitsWarper(decoding.top_k))
        if decoding.top_p < 1.0:
            processors.append(TopPLogitsWarper(decoding.top_p))
    return processors


class AnswerTokens:
    """The tokens of one answer as they are decoded.

    model: what decodes it.
    cache: what it is decoded from; every token that is read is added to it.
    ids: what stands after the video, (n,).
    settings: how a token is chosen, and how many there are at most.
    unread: what stands behind the cache and is still to be read, (m,).
    is_first: whether no token was chosen yet.
    is_finished: whether no token follows.
    """

    def __init__(self, model: MLLM, cache: KVCache, ids: Tensor, settings: Generation):
        self.cache = cache
        self.unread = ids.to(model.device)
        self.is_first, self.is_finished = True, False
        self._eos_ids, self._left = model.eos_ids, settings.max_new_tokens
        self._decoding = settings.decoding(model.decoding)
        self._processors = logits_processors(self._decoding)
        self._generator = torch.Generator(model.device).manual_seed(settings.seed)
        self._seen = self.unread

    def choose(self, logits: Tensor) -> Tensor:
        """The next token (1,) by its logits (1, vocabulary), which is to be read next."""
        logits = self._processors(self._seen[None], logits)
        if self._decoding.temperature > 0:
            token = torch.multinomial(logits.softmax(-1), 1, generator=self._generator)[0]
        else:
            token = logits.argmax(-1)
        self._seen, self.unread = torch.cat([self._seen, token]), token
        return token

    def take(self, token: int) -> bool:
        """Count the token that was chosen; whether it is part of the answer, and not the id that ends it."""
        is_part = token not in self._eos_ids
        self.is_first = False
        self._left -= 1
        self.is_finished = not is_part or self._left == 0
        return is_part


def read(model: MLLM, answers: Sequence[AnswerTokens], most: int | None = None) -> tuple[list[int], Tensor]:
    """Read what stands behind several answers' caches in one run of the decoder.

    most: how many tokens at most, at least one for each answer; by default all of them. Every answer reads one, and the
        first ones that have more to read take what is left.
    Returns the places of the answers that have read all, (k,), and the logits of their next token, (k, vocabulary).
    """
    left = sum(len(answer.unread) for answer in answers) if most is None else most
    counts: list[int] = []
    for place, answer in enumerate(answers):
        counts.append(min(len(answer.unread), left - (len(answers) - place - 1)))
        left -= counts[-1]
    parts = [answer.unread[:count] for answer, count in zip(answers, counts, strict=True)]
    ready = [place for place, answer in enumerate(answers) if counts[place] == len(answer.unread)]
    ends = torch.tensor(counts).cumsum(0) - 1
    caches = [answer.cache for answer in answers]
    before = [(cache.length, cache.next_position) for cache in caches]
    try:
        states = model.run(model.embed(torch.cat(parts)), Forward.packed(caches, counts))  # (sum of counts, hidden)
        logits = model.logits(states[ends[ready].to(states.device)])
    except BaseException:  # nothing counts as read, so that it can be tried again
        for cache, end in zip(caches if model.reuses_kvs else (), before, strict=False):  # others can't be cut
            cache.cut(*end)
        raise
    for answer, count in zip(answers, counts, strict=True):
        answer.unread = answer.unread[count:]
    return ready, logits


def generate(model: MLLM, cache: KVCache, ids: Tensor, settings: Generation) -> Iterator[int]:
    """Yield the token ids of one answer by itself, without the id that ends it; see `AnswerTokens`."""
    answer = AnswerTokens(model, cache, ids, settings)
    while not answer.is_finished:
        _, logits = read(model, [answer])
        token = int(answer.choose(logits))
        if answer.take(token):
            yield token
