"""A probe: let the model begin to answer from one chunk at a time, and see where it says something else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.index.reload import load_chunk
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.oracles.base import KVOracle

LOGITS_AT_ONCE = 64
"""Chunks whose logits over the whole vocabulary are in memory together."""


@dataclass(frozen=True)
class Probe(KVOracle):
    """How far the answer from a chunk alone, right behind the prompt, departs from those of the other chunks.

    It is the KL divergence, in nats, of the answer's first tokens: of the mean of their distributions over all chunks
    from this chunk's. It is large where the model is sure, and of something else than it says where it has not seen
    what is asked about. A chunk without KVs at the level leaves nothing to answer from: 0, the lowest score.

    answer_tokens: how many tokens of each chunk's likeliest answer are looked at, default 2; more cost one more short
        forward each, and tell apart answers that begin alike.
    batch_tokens: tokens of KVs and questions in one forward, default 4096; more is faster and takes more memory. A
        chunk that has more goes alone.
    level: the level whose KVs are read, as its nominal compression ratio. None, the default, is the finest one, which
        finds most; a coarser one costs less.
    Raises: SettingsError for less than one answer token.
    """

    reads_finest: ClassVar[bool] = True

    answer_tokens: int = 2
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.answer_tokens < 1:
            raise SettingsError(f"answer_tokens={self.answer_tokens} leaves no answer to look at: pass 1 or more")

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """One short forward per chunk and answer token, many chunks in one."""
        return self.among(range(len(index.entries)), model, index, question)

    def among(self, chunks: Sequence[int], model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """Scores of some chunks, as if they were the whole video; 0 for all others, (all chunks,)."""
        ids, level, scores = model.question_ids(question), self.level_in(index), torch.zeros(len(index.entries))
        chunks = [chunk for chunk in chunks if index.entries[chunk].tokens[level]]
        if not chunks:
            return scores
        tokens = [index.entries[chunk].tokens[level] + len(ids) + self.answer_tokens - 1 for chunk in chunks]
        batches = self._batches(chunks, tokens)
        states = torch.cat([self._first_states(model, index, batch, level, ids) for batch in batches])
        scores[chunks] = torch.stack([divergences(model, step) for step in states.unbind(1)]).sum(dim=0).cpu()
        return scores

    def _batches(self, chunks: list[int], tokens: list[int]) -> Iterator[list[int]]:
        """Runs of chunks within the token budget. tokens: what each of them needs."""
        batch: list[int] = []
        used = 0
        for chunk, needed in zip(chunks, tokens, strict=True):
            if batch and used + needed > self.batch_tokens:
                yield batch
                batch, used = [], 0
            batch.append(chunk)
            used += needed
        yield batch

    def _first_states(self, model: MLLM, index: VideoIndex, chunks: list[int], level: int, ids: Tensor) -> Tensor:
        """The states that lead to the answer's first tokens, (chunks, answer_tokens, hidden).

        Every chunk is in a cache of its own behind the prompt, and the question behind it.
        """
        room = len(ids) + self.answer_tokens - 1
        caches = [load_chunk(model, index, chunk, level, room) for chunk in chunks]
        forward = Forward.packed(caches, [len(ids)] * len(chunks))
        states = model.run(model.embed(ids).repeat(len(chunks), 1), forward)
        steps = [states[len(ids) - 1 :: len(ids)]]  # (chunks, hidden)
        while len(steps) < self.answer_tokens:
            likeliest = torch.cat([model.logits(part).argmax(-1) for part in steps[-1].split(LOGITS_AT_ONCE)])
            steps.append(model.run(model.embed(likeliest), Forward.packed(caches, [1] * len(chunks))))
        return torch.stack(steps, dim=1)


def divergences(model: MLLM, states: Tensor) -> Tensor:
    """KL divergence of the mean next-token distribution of all states (n, hidden) from that of each, nats, (n,).

    Logits are formed twice rather than kept: those of a long video's chunks over a large vocabulary take gigabytes.
    """
    parts = states.split(LOGITS_AT_ONCE)
    sums = [model.logits(part).softmax(-1).sum(dim=0) for part in parts]
    mean = torch.stack(sums).sum(dim=0) / len(states)  # (vocabulary,)
    cross_entropy = torch.cat([-(model.logits(part).log_softmax(-1) @ mean) for part in parts])
    return (cross_entropy - torch.special.entr(mean).sum()).clamp_min(0)
