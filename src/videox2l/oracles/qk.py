"""Mean question query against mean chunk key, un-rotated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import KVOracle
from videox2l.oracles.question_queries import question_queries


@dataclass(frozen=True)
class QueryKey(KVOracle):
    """Cosine of the question's mean query with the chunk's mean key, mean over layers (ReKV, arXiv 2503.00540).

    A chunk without KVs at the level gets -1, the lowest cosine.

    level: the level whose keys are read, as its nominal compression ratio. None, the default, is the coarsest one,
        which costs least; a finer one holds more to find.
    """

    reads_fresh: ClassVar[bool] = False

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """One forward of the question behind the prompt alone, then one dot product per chunk and layer."""
        level = self.level_in(index)
        asked = question_queries(model, index.prompt, question).mean(dim=(2, 3)).flatten(1)  # (n_l, n_h * d_h)
        scores = torch.full((len(index.entries),), -1.0)
        for chunk, entry in enumerate(index.entries):
            if entry.tokens[level]:
                keys = index.keys(chunk, level).to(asked)  # (n_l, n_h, n, d_h)
                scores[chunk] = F.cosine_similarity(asked, keys.mean(dim=2).flatten(1), dim=1).mean()
        return scores
