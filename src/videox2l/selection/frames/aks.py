"""Adaptive keyframe sampling: the best frames where some stand out, evenly spread where none do."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from videox2l.selection.frames.base import FrameSelector, min_max

STANDS_OUT = 0.8
"""How far the mean of a part's best frames lies above the part's mean where the part is not cut any further."""

DEEPEST = 5
"""How often the video is cut in halves at most."""


@dataclass(frozen=True)
class AdaptiveKeyframes(FrameSelector):
    """Judge whether the best frames of a part stand out, else cut it in halves (AKS, arXiv 2502.21271).

    A part that was cut out d times gives its best 1 / 2^d of the frames wanted, rounded down, so that there may be
    fewer than wanted. No part is cut so small that it would give none, as the published rule does with flat scores and
    fewer than 32 frames.

    cache_tokens: tokens of the prompt and the video in the cache, at most.
    level: FRESH, or 1 for stored KVs; None, the default, is the finest level of the index.
    """

    def pick(self, scores: Tensor, count: int) -> set[int]:
        """The best frames of every part."""
        scaled = min_max(scores)
        deepest = min(DEEPEST, count.bit_length() - 1)
        picked: set[int] = set()
        parts = [(0, len(scores), 0)]
        while parts:
            start, end, depth = parts.pop()
            part = scaled[start:end]
            best = part.sort(descending=True, stable=True).indices
            stands_out = part[best[:count]].mean() - part.mean() > STANDS_OUT
            if stands_out or depth == deepest or end - start < 2:
                picked.update((start + best[: count >> depth]).tolist())
            else:
                middle = (start + end) // 2
                parts += [(start, middle, depth + 1), (middle, end, depth + 1)]
        return picked
