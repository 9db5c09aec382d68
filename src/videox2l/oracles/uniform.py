"""Evenly spaced chunks, whatever the question."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle


@dataclass(frozen=True)
class Uniform(Oracle):
    """Prefers the middles of `k` equal parts of the video, then the chunks next to them."""

    k: int = 3

    def score(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """Minus the distance to the nearest middle, in chunks."""
        chunks = len(index.entries)
        middles = (torch.arange(max(self.k, 1)) + 0.5) * chunks / max(self.k, 1) - 0.5
        return -(torch.arange(chunks)[:, None] - middles).abs().min(dim=1).values
