"""Late interaction in the model's own attention: each of the question's queries against a chunk's best key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import KVOracle
from videox2l.oracles.question_queries import question_queries

SHARPNESS = 3
"""The power that lets the few heads and tokens in which one chunk stands out count for more than all the others."""


@dataclass(frozen=True)
class MaxSim(KVOracle):
    """How far a chunk's best keys for the question's queries stand out among the chunks.

    MaxSim as in ColBERT (arXiv 2004.12832), on the model's own queries and keys before positions rotate them: for every
    layer, head and question token the largest product with a key of the chunk, and by how much that exceeds its mean
    over all chunks; the mean of the cubes of these, negative ones left out. No model runs over the video, and keys are
    read without their values. A chunk without KVs at the level gets 0, the lowest score.

    level: the level whose keys are read, as its nominal compression ratio. None, the default, is the finest one, which
        finds most; a coarser one costs less.
    """

    reads_finest: ClassVar[bool] = True
    reads_fresh: ClassVar[bool] = False

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """One forward of the question behind the prompt alone, then one matrix product per chunk."""
        return self.among(range(len(index.entries)), model, index, question)

    def among(self, chunks: Sequence[int], model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """Scores of some chunks, as if they were the whole video; 0 for all others, (all chunks,)."""
        level, scores = self.level_in(index), torch.zeros(len(index.entries))
        chunks = [chunk for chunk in chunks if index.entries[chunk].tokens[level]]
        if not chunks:
            return scores
        queries = question_queries(model, index.prompt, question).flatten(2, 3)  # (n_l, n_h, groups * n, d_h)
        best = [(queries @ index.keys(chunk, level).to(queries).mT).amax(dim=-1) for chunk in chunks]
        logits = torch.stack(best, dim=-1).flatten(0, 2)  # (n_l * n_h * groups * n, chunks)
        above = (logits - logits.mean(dim=-1, keepdim=True)).clamp_min(0)
        scores[chunks] = above.pow(SHARPNESS).mean(dim=0).cpu()
        return scores
