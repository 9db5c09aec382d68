"""Rotary position embedding (RoPE) for keys and queries kept un-rotated (Su et al., arXiv 2104.09864)."""

from __future__ import annotations

import torch
from torch import Tensor


class Rope:
    """Half-split rotary embedding: the first and second half of a head are paired, angle = position * theta^(-2i/d).

    Angles are formed in fp32 whatever the dtype of what is rotated. There is no table, so no largest position.
    """

    def __init__(self, head_dim: int, theta: float, device: torch.device | str = "cpu"):
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
        self.inverse_frequencies = 1.0 / theta**exponents  # (d_h / 2,)

    def __call__(self, states: Tensor, positions: Tensor) -> Tensor:
        """Rotate queries or keys of shape (..., n, d_h) to positions of shape (n,)."""
        angles = positions.to(torch.float32)[:, None] * self.inverse_frequencies  # (n, d_h / 2)
        cos = torch.cat([angles.cos()] * 2, dim=-1).to(states.dtype)  # (n, d_h)
        sin = torch.cat([angles.sin()] * 2, dim=-1).to(states.dtype)
        first, second = states.chunk(2, dim=-1)
        return states * cos + torch.cat([-second, first], dim=-1) * sin
