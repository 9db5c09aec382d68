"""Chance: the floor that every oracle must beat."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle


@dataclass(frozen=True)
class RandomOracle(Oracle):
    """Uniform random scores from 0 to 1, drawn anew for every video and question.

    seed: another one draws other scores for the same video and question. Default 0.
    """

    seed: int = 0

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """The same scores for the same seed, index and question."""
        digest = hashlib.blake2b(f"{self.seed} {index.spec.key} {question}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
        return torch.rand(len(index.entries), generator=generator)

    @property
    def takes_times(self) -> bool:
        """Chance stays chance."""
        return False

    @property
    def takes_subtitles(self) -> bool:
        """Chance stays chance."""
        return False
