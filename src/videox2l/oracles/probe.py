"""A probe: let the model answer from one chunk at a time, and see where it is sure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.index.reload import load_chunk
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.oracles.base import Oracle


@dataclass(frozen=True)
class Probe(Oracle):
    """Certainty (largest probability) of the answer's first token when a chunk stands alone behind the prompt.

    level: the level whose KVs are read; None is the finest. batch_tokens: tokens of KVs and questions in one forward;
    a chunk that has more goes alone.
    """

    level: int | None = None
    batch_tokens: int = 4096

    def score(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """One short forward per chunk, many chunks in one."""
        ids = model.question_ids(question)
        return torch.cat([self._certainties(model, index, chunks, ids) for chunks in self._batches(index, len(ids))])

    def _batches(self, index: VideoIndex, question_tokens: int) -> Iterator[list[int]]:
        """Runs of chunks within the token budget."""
        batch: list[int] = []
        tokens = 0
        for chunk, entry in enumerate(index.entries):
            needed = entry.tokens[self.level or index.levels[0]] + question_tokens
            if batch and tokens + needed > self.batch_tokens:
                yield batch
                batch, tokens = [], 0
            batch.append(chunk)
            tokens += needed
        yield batch

    def _certainties(self, model: MLLM, index: VideoIndex, chunks: list[int], ids: Tensor) -> Tensor:
        """One run of the question behind each of these chunks, every chunk in a cache of its own behind the prompt."""
        caches = [load_chunk(model, index, chunk, self.level or index.levels[0], room=len(ids)) for chunk in chunks]
        forward = Forward.packed(caches, [len(ids)] * len(chunks))
        states = model.run(model.embed(ids).repeat(len(chunks), 1), forward)
        last = states[len(ids) - 1 :: len(ids)]  # (chunks, hidden)
        return model.logits(last).softmax(-1).amax(-1).cpu()
