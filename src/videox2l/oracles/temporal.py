"""Scores smoothed along time: a moment often reaches into the next chunk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.types import Scores


@dataclass(frozen=True)
class Temporal(Oracle):
    """Another oracle's scores, each replaced by a Gaussian mean of those around it.

    oracle: whose scores are smoothed; it has no default.
    width: standard deviation of the Gaussian, in chunks, above 0. Default 1; wider where a moment lasts longer than a
        chunk.
    Raises: SettingsError for a width that is not above 0.
    """

    oracle: Oracle
    width: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.width < math.inf:
            raise SettingsError(f"smoothing={self.width} is not a width in chunks: pass a number above 0")

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Scores:
        """The oracle once, then one small matrix product."""
        return self.relevances(model, index, [question])[0]

    def relevances(self, model: MLLM, index: VideoIndex, questions: Sequence[str]) -> list[Scores]:
        """The oracle once for all questions."""
        place = torch.arange(len(index.entries), dtype=torch.float32)
        weights = (-(((place - place[:, None]) / self.width) ** 2) / 2).exp()
        weights /= weights.sum(dim=1, keepdim=True)
        given = self.oracle.score_all(model, index, questions)
        return [replace(scores, chunks=weights @ scores.chunks) for scores in given]

    def notes(self, index: VideoIndex, question: str) -> tuple[str, ...]:
        """The oracle's own notes."""
        return self.oracle.notes(index, question)

    @property
    def levels(self) -> tuple[int, ...]:
        """The oracle's own levels."""
        return self.oracle.levels

    @property
    def takes_times(self) -> bool:
        """Whether the oracle does."""
        return self.oracle.takes_times

    @property
    def takes_subtitles(self) -> bool:
        """Whether the oracle does."""
        return self.oracle.takes_subtitles
