"""Chunks of a model that writes text before and behind every frame, at 1-D positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from videox2l.types import VideoTokens


def interleave(
    features: Tensor, before: Sequence[Tensor], behind: Sequence[Tensor], first_position: int
) -> VideoTokens:
    """Each frame's visual tokens between the text before and behind it.

    features: (T, n, hidden). before, behind: T text embeddings (m, hidden) each; m may be 0.
    """
    parts, is_text, sizes = [], [], []
    for frame, opening, closing in zip(features, before, behind, strict=True):
        parts += [opening, frame, closing]
        is_text += [True] * len(opening) + [False] * len(frame) + [True] * len(closing)
        sizes.append(len(opening) + len(frame) + len(closing))
    device = features.device
    return VideoTokens(
        torch.cat([part.to(features) for part in parts]),
        torch.arange(first_position, first_position + sum(sizes), device=device),
        torch.tensor(is_text, device=device),
        torch.arange(len(sizes), device=device).repeat_interleave(torch.tensor(sizes, device=device)),
    )
