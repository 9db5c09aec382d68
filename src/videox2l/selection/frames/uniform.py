"""Evenly spaced frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from videox2l.selection.frames.base import FrameSelector


@dataclass(frozen=True)
class UniformFrames(FrameSelector):
    """The frames in the middles of equal parts of the video, whatever the question.

    cache_tokens: tokens of the prompt and the video in the cache, at most.
    level: FRESH, or 1 for stored KVs; None, the default, is the finest level of the index.
    """

    needs_scores: ClassVar[bool] = False

    def pick(self, scores: Tensor, count: int) -> set[int]:
        """The middle of each of `count` parts."""
        return {(2 * part + 1) * len(scores) // (2 * count) for part in range(count)}
