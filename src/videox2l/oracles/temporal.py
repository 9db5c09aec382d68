"""Scores smoothed along time: a moment often reaches into the next chunk."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle


@dataclass(frozen=True)
class Temporal(Oracle):
    """Another oracle's scores, each the Gaussian mean of those around it.

    oracle: one that scores. width: standard deviation in chunks.
    Raises: SettingsError.
    """

    oracle: Oracle
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.width <= 0:
            raise SettingsError(f"smoothing={self.width} is not a width in chunks: pass a number above 0")
        if self.oracle.decides:
            raise SettingsError("chunks named by hand can't be smoothed: leave smoothing out")

    def score(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """The oracle once, then one small matrix product."""
        place = torch.arange(len(index.entries), dtype=torch.float32)
        weights = (-(((place - place[:, None]) / self.width) ** 2) / 2).exp()
        scores = self.oracle.score(model, index, question)
        return (weights / weights.sum(dim=1, keepdim=True)) @ scores.float()

    def notes(self, question: str) -> tuple[str, ...]:
        """What the oracle has to say."""
        return self.oracle.notes(question)
