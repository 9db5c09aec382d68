"""The small data types that flow from step to step; steps meet in these and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Frames:
    """Consecutive sampled frames of one video.

    pixels: uint8 RGB, shape (T, 3, H, W), upright (rotation metadata applied).
    timestamps_s: float64, shape (T,): true presentation times in seconds from the start of the video.
    """

    pixels: Tensor
    timestamps_s: Tensor

    def __len__(self) -> int:
        return self.pixels.shape[0]


@dataclass(frozen=True)
class Chunk:
    """A run of consecutive sampled frames, compressed as one unit.

    The frame range is half open; start_s is the first frame's time, end_s where the next chunk (or nothing) begins.
    """

    index: int
    first_frame: int
    end_frame: int
    start_s: float
    end_s: float

    @property
    def frames(self) -> int:
        """Number of frames in the chunk."""
        return self.end_frame - self.first_frame


@dataclass(frozen=True)
class KV:
    """Keys and values of n tokens in every layer, keys **before** RoPE.

    keys, values: shape (n_l, n_h, n, d_h): layers, KV heads, tokens, head size.
    positions: the positions the tokens were computed at, shape (n,), or (3, n) for M-RoPE.
    """

    keys: Tensor
    values: Tensor
    positions: Tensor

    def __len__(self) -> int:
        return self.keys.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes held by keys and values."""
        return self.keys.nbytes + self.values.nbytes

    def to(self, device: torch.device | str, non_blocking: bool = False) -> KV:
        """The same KVs on another device."""
        return KV(
            self.keys.to(device, non_blocking=non_blocking),
            self.values.to(device, non_blocking=non_blocking),
            self.positions.to(device),
        )


def concatenate(parts: list[KV]) -> KV:
    """KVs of several token runs, joined along the token axis in the order given."""
    return KV(
        torch.cat([part.keys for part in parts], dim=2),
        torch.cat([part.values for part in parts], dim=2),
        torch.cat([part.positions for part in parts], dim=-1),
    )


ChunkKVs = Mapping[int, KV]
"""One chunk's KVs by level (the nominal compression ratio): {2: L-KVs, 32: H-KVs}."""


@dataclass(frozen=True)
class Selection:
    """A level for every chunk, and the relevance scores that led to it.

    levels: nominal compression ratio per chunk, in temporal order.
    scores: relevance per chunk, higher is more relevant; comparable only within one question.
    moments: the most relevant chunks among those read at the finest ratio, best first.
    """

    levels: tuple[int, ...]
    scores: tuple[float, ...]
    moments: tuple[int, ...]
