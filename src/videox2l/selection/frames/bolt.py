"""Inverse transform sampling: more frames where the scores are higher."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.selection.frames.base import FrameSelector, filled_up, min_max


@dataclass(frozen=True)
class InverseTransform(FrameSelector):
    """The frames at equally spaced quantiles of the scores, taken as a distribution (BOLT, arXiv 2503.21483).

    Scores that are all the same are a uniform distribution. Where several quantiles fall on one frame, the best of the
    others take their places.

    cache_tokens: tokens of the prompt and the video in the cache, at most.
    level: FRESH, or 1 for stored KVs; None, the default, is the finest level of the index.
    """

    def pick(self, scores: Tensor, count: int) -> set[int]:
        """The frames at `count` quantiles from 1 / count to 1 - 1 / count."""
        weights = min_max(scores)
        cumulated = (weights if weights.any() else torch.ones_like(weights)).cumsum(0)
        edge = 1 / max(count, 2)
        quantiles = torch.linspace(edge, 1 - edge, count, dtype=torch.float64)
        picked = torch.searchsorted(cumulated / cumulated[-1], quantiles).clamp(max=len(scores) - 1)
        return filled_up(picked.tolist(), scores, count)
