"""A probe: let the model answer from one chunk at a time, and see where it is sure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from videox2l.index.reload import load_chunk
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.oracles.base import KVOracle


@dataclass(frozen=True)
class Probe(KVOracle):
    """Certainty (largest probability) of the answer's first token when a chunk stands alone behind the prompt.

    A chunk without KVs at the level leaves nothing to answer from: 0, the lowest score.

    batch_tokens: tokens of KVs and questions in one forward, default 4096; more is faster and takes more memory. A
        chunk that has more goes alone.
    level: the level whose KVs are read, as its nominal compression ratio. None, the default, is the finest one, which
        finds most; a coarser one costs less.
    """

    reads_finest: ClassVar[bool] = True

    batch_tokens: int = 4096

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """One short forward per chunk, many chunks in one."""
        ids, level = model.question_ids(question), self.level_in(index)
        scores = torch.zeros(len(index.entries))
        for chunks in self._batches([entry.tokens[level] for entry in index.entries], len(ids)):
            scores[chunks] = self._certainties(model, index, chunks, level, ids)
        return scores

    def _batches(self, tokens: list[int], question_tokens: int) -> Iterator[list[int]]:
        """Runs of chunks within the token budget, those without any KVs left out."""
        batch: list[int] = []
        used = 0
        for chunk in (chunk for chunk, count in enumerate(tokens) if count):
            needed = tokens[chunk] + question_tokens
            if batch and used + needed > self.batch_tokens:
                yield batch
                batch, used = [], 0
            batch.append(chunk)
            used += needed
        if batch:
            yield batch

    def _certainties(self, model: MLLM, index: VideoIndex, chunks: list[int], level: int, ids: Tensor) -> Tensor:
        """One run of the question behind each of these chunks, every chunk in a cache of its own behind the prompt."""
        caches = [load_chunk(model, index, chunk, level, room=len(ids)) for chunk in chunks]
        forward = Forward.packed(caches, [len(ids)] * len(chunks))
        states = model.run(model.embed(ids).repeat(len(chunks), 1), forward)
        last = states[len(ids) - 1 :: len(ids)]  # (chunks, hidden)
        return model.logits(last).softmax(-1).amax(-1).float().cpu()
