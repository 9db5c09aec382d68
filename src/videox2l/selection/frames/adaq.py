"""Sampling by a temperature that follows the scores' variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.selection.frames.base import FrameSelector, filled_up, min_max

MASS = 0.997
"""Of the distribution, that frames are drawn from."""


@dataclass(frozen=True)
class QuasiGaussian(FrameSelector):
    """Frames drawn by softmax(scores / temperature), the temperature half of their variance (AdaQ, arXiv 2606.24187).

    Only the likeliest frames, which hold 99.7 % of the mass, are drawn from; where they are too few, the best of the
    others follow. Scores that are all the same are drawn from uniformly.

    cache_tokens: tokens of the prompt and the video in the cache, at most.
    level: FRESH, or 1 for stored KVs; None, the default, is the finest level of the index.
    seed: of the draw; 0 by default. The same seed draws the same frames.
    """

    seed: int = 0

    def pick(self, scores: Tensor, count: int) -> set[int]:
        """`count` frames, drawn without replacement."""
        scaled = min_max(scores)
        temperature = 0.5 * float(scaled.var(unbiased=False))
        likely = (scaled / temperature if temperature > 0 else scaled).softmax(0)
        falling = likely.sort(descending=True, stable=True)
        kept = falling.indices[falling.values.cumsum(0) - falling.values < MASS]
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.multinomial(likely[kept], min(count, len(kept)), generator=generator)
        return filled_up(kept[drawn].tolist(), scores, count)
