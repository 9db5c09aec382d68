"""The frames of highest score."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from videox2l.selection.frames.base import FrameSelector, filled_up


@dataclass(frozen=True)
class TopFrames(FrameSelector):
    """The best frames; of equal scores the earlier is taken.

    cache_tokens: tokens of the prompt and the video in the cache, at most.
    level: FRESH, or 1 for stored KVs; None, the default, is the finest level of the index.
    """

    def pick(self, scores: Tensor, count: int) -> set[int]:
        """The `count` largest."""
        return filled_up((), scores, count)
