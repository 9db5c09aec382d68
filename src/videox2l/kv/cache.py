"""The KV cache a model decodes from: one preallocated buffer in which every key is rotated exactly once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.types import KV

Rotate = Callable[[Tensor, Tensor], Tensor]
"""Rotates keys or queries (..., n, d_h) to positions (n,), or (3, n) for M-RoPE."""


@dataclass(frozen=True)
class KVShape:
    """What one token's KVs look like: layers, KV heads and head size."""

    layers: int
    heads: int
    head_dim: int


class KVCache:
    """Rotated keys and values of all layers in one buffer.

    keys, values: (n_l, n_h, capacity, d_h), of which the first `length` tokens are filled.
    next_position: the position a token appended now would take.
    Raises: SettingsError where there is no memory for the buffer, also when it grows.
    """

    def __init__(
        self,
        shape: KVShape,
        rotate: Rotate,
        capacity: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.rotate = rotate
        self.keys = torch.empty(shape.layers, shape.heads, 0, shape.head_dim, device=device, dtype=dtype)
        self.keys, self.values = self._buffer(self.keys, capacity), self._buffer(self.keys, capacity)
        self.length = 0
        self.next_position = 0

    @property
    def capacity(self) -> int:
        """Tokens the buffer can hold."""
        return self.keys.shape[2]

    def reserve(self, tokens: int) -> None:
        """Make room for so many more tokens, doubling the buffer so that growth stays linear in time."""
        if self.length + tokens <= self.capacity:
            return
        capacity = max(self.length + tokens, 2 * self.capacity)
        self.keys, self.values = self._grown(self.keys, capacity), self._grown(self.values, capacity)

    @staticmethod
    def _buffer(like: Tensor, capacity: int) -> Tensor:
        try:  # zeros: attention in a fixed buffer multiplies what is not filled by 0, which does not clear a NaN
            return like.new_zeros(*like.shape[:2], capacity, like.shape[3])
        except RuntimeError as error:  # what torch raises on the CPU; torch.OutOfMemoryError is one too
            raise SettingsError(
                f"a cache of {capacity} tokens does not fit into the memory of {like.device}: choose coarser levels, a "
                "part of the video or a shorter answer"
            ) from error

    def _grown(self, buffer: Tensor, capacity: int) -> Tensor:
        grown = self._buffer(buffer, capacity)
        grown[:, :, : self.length] = buffer[:, :, : self.length]
        return grown

    def append(self, kv: KV, positions: Tensor | None = None) -> None:
        """Add un-rotated KVs, rotated to `positions`, by default the next contiguous ones."""
        tokens = len(kv)
        if positions is None:
            positions = self.next_positions(tokens)
        self.reserve(tokens)
        end = self.length + tokens
        self.keys[:, :, self.length : end] = self.rotate(kv.keys.to(self.keys), positions.to(self.keys.device))
        self.values[:, :, self.length : end] = kv.values.to(self.values)
        self.advance(positions)

    def next_positions(self, tokens: int) -> Tensor:
        """The contiguous positions of the next tokens, shape (tokens,)."""
        return torch.arange(self.next_position, self.next_position + tokens, device=self.keys.device)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put one layer's rotated KVs (n_h, n, d_h) behind the filled part; return all the layer holds with them.

        `advance` makes the tokens part of the cache once every layer is written; without it they are scratch.
        """
        end = self.length + keys.shape[1]
        self.keys[layer, :, self.length : end] = keys
        self.values[layer, :, self.length : end] = values
        return self.keys[layer, :, :end], self.values[layer, :, :end]

    def write_at(self, layer: int, keys: Tensor, values: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Put one layer's rotated KVs (n_h, n, d_h) at places (n,) of the buffer; return all of that layer's buffer."""
        self.keys[layer].index_copy_(1, slots, keys)
        self.values[layer].index_copy_(1, slots, values)
        return self.keys[layer], self.values[layer]

    def advance(self, positions: Tensor) -> None:
        """Count the tokens at these positions, written in every layer, as part of the cache."""
        self.length += positions.shape[-1]
        if positions.numel():
            self.next_position = max(self.next_position, int(positions.max()) + 1)

    def cut(self, length: int, next_position: int) -> None:
        """Forget all but the first `length` tokens; the next one takes `next_position`."""
        self.length, self.next_position = length, next_position

    def clear(self) -> None:
        """Empty the cache, keeping its buffer."""
        self.length = self.next_position = 0
