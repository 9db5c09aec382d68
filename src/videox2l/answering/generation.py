"""Question and cache to text, a token at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from videox2l.errors import SettingsError
from videox2l.kv.cache import KVCache
from videox2l.models.base import MLLM, Decoding


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


def generate(model: MLLM, cache: KVCache, ids: Tensor, settings: Generation) -> Iterator[int]:
    """Yield the answer's token ids, without the id that ends it.

    ids: what stands after the video, (n,); it and the answer are added to the cache.
    """
    decoding = settings.decoding(model.decoding)
    processors = logits_processors(decoding)
    generator = torch.Generator(model.device).manual_seed(settings.seed)
    seen = ids.to(model.device)
    asked = seen
    for _ in range(settings.max_new_tokens):
        states = model.read(asked, cache)
        logits = processors(seen[None], model.logits(states[-1:]))  # (1, vocabulary)
        if decoding.temperature > 0:
            token = torch.multinomial(logits.softmax(-1), 1, generator=generator)[0]
        else:
            token = logits.argmax(-1)
        if int(token) in model.eos_ids:
            return
        yield int(token)
        seen, asked = torch.cat([seen, token]), token


def stream_text(ids: Iterator[int], tokenizer: PreTrainedTokenizerBase, stop: tuple[str, ...]) -> Iterator[str]:
    """Yield the answer's text in pieces as its ids come.

    A piece is held back while it ends inside a character, or in what may become a stop string.
    """
    taken: list[int] = []
    sent = ""
    for token in ids:
        taken.append(token)
        text = tokenizer.decode(taken, skip_special_tokens=True)
        cut = min((place for place in map(text.find, stop) if place >= 0), default=None)
        if cut is not None:
            if cut > len(sent):
                yield text[len(sent) : cut]
            return
        ready = len(text) - max((tail_match(text, string) for string in stop), default=0)
        if text.endswith("\ufffd") or ready <= len(sent):
            continue
        yield text[len(sent) : ready]
        sent = text[:ready]
    rest = tokenizer.decode(taken, skip_special_tokens=True)[len(sent) :]
    if rest:
        yield rest


def tail_match(text: str, stop: str) -> int:
    """Length of the longest end of the text that begins the stop string."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
