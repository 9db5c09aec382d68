"""A probe: let the model answer from one chunk at a time, and see where it is sure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.index import VideoIndex
from videox2l.models.base import MLLM
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
        """One forward over chunks side by side: each right behind the prompt, with a copy of the question of its own.

        A copy sees the prompt, its chunk and itself, so it is as if the chunk were the whole video.
        """
        kvs = [index.kv(chunk, self.level or index.levels[0]).to(model.device) for chunk in chunks]
        prompt, asked, sizes = len(index.prompt), len(ids), torch.tensor([len(kv) for kv in kvs])
        cache = model.new_cache(prompt + int(sizes.sum()) + len(chunks) * asked)
        cache.append(index.prompt)
        nexts = []  # the position behind each chunk
        for kv in kvs:
            places = model.contiguous(kv.positions, index.prompt.positions.to(model.device))
            cache.append(kv, places)
            nexts.append(int(places.max()) + 1)

        copies = torch.arange(len(chunks)).repeat_interleave(asked)  # whose question each asking token is
        steps = torch.arange(asked).repeat(len(chunks))
        chunk_of_kv = torch.arange(len(chunks)).repeat_interleave(sizes)
        sees_prompt = torch.ones(len(copies), prompt, dtype=torch.bool)
        sees_chunk = copies[:, None] == chunk_of_kv
        sees_question = (copies[:, None] == copies) & (steps[:, None] >= steps)
        mask = torch.cat([sees_prompt, sees_chunk, sees_question], dim=1)  # (askers, cache + askers)
        positions = torch.tensor(nexts)[copies] + steps

        states = model.run(
            model.embed(ids).repeat(len(chunks), 1),
            cache,
            positions=positions.to(model.device),
            mask=mask.to(model.device),
        )
        last = states[asked - 1 :: asked]  # (chunks, hidden)
        return model.logits(last).softmax(-1).amax(-1).cpu()
