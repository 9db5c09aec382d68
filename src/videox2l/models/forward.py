"""One run of the decoder: where its tokens stand, what they attend to, and what is recorded of them.

Every family's attention layer calls `Forward.attend`, so rotation, caches, visibility and recording are written once.
"""

from __future__ import annotations

from collections.abc import Sequence as Run
from dataclasses import dataclass, field

import torch
from torch import Tensor

from videox2l.kv.attention import attend
from videox2l.kv.cache import KVCache
from videox2l.types import KV


@dataclass(frozen=True)
class Visible:
    """New tokens that attend to the same tokens of cache and run, but for the order among them.

    rows: (r,) of the sequence's new tokens. columns: (c,) of its cache, the new tokens included. mask: bool (r, c), or
    None where it is causal, the last row aligned with the last column.
    """

    rows: Tensor | slice
    columns: Tensor | slice
    mask: Tensor | None


@dataclass(frozen=True)
class Sequence:
    """One sequence of a run: new tokens behind a cache of their own.

    cache: what stands before; the new tokens' KVs are added to it.
    tokens: how many new ones.
    visible: what they attend to: bool (tokens, cache length + tokens), or group by group; by default everything before
        them and themselves.
    slots: (tokens,) where in the cache's buffer their KVs are written, for a run whose sizes must not change (a CUDA
        graph is replayed with other values in the same tensors); `visible` then spans the whole buffer, and the cache
        is not advanced. By default right behind the filled part.
    """

    cache: KVCache
    tokens: int
    visible: Tensor | tuple[Visible, ...] | None = None
    slots: Tensor | None = None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Write one layer's rotated KVs (n_h, n, d_h) to the cache; attention of (heads, n, d_h) queries over it."""
        if self.slots is None:
            keys, values = self.cache.write(layer, key, value)
        else:
            keys, values = self.cache.write_at(layer, key, value, self.slots)
        if not isinstance(self.visible, tuple):
            return attend(query, keys, values, self.visible, scale)
        out = query.new_empty(query.shape[1], query.shape[0] * query.shape[2])
        for part in self.visible:
            columns = part.columns
            out[part.rows] = attend(query[:, part.rows], keys[:, columns], values[:, columns], part.mask, scale)
        return out


@dataclass
class Forward:
    """What a run of the decoder is told, and what it records.

    sequences: packed one behind the other along n.
    positions: of all n tokens, (n,), or (3, n) for M-RoPE.
    deepstack: as in VideoTokens, for all n tokens; by default none.
    records_kv: whether `keys` and `values` receive every layer's un-rotated keys and its values, (n_h, n, d_h) each.
    records_queries: whether `queries` receive every layer's un-rotated queries, (heads, n, d_h), and `scales` what it
        multiplies their products with the keys by, None for 1 / sqrt(d_h).
    """

    sequences: tuple[Sequence, ...]
    positions: Tensor
    deepstack: Tensor | None = None
    records_kv: bool = False
    records_queries: bool = False
    keys: list[Tensor] = field(default_factory=list, init=False)
    values: list[Tensor] = field(default_factory=list, init=False)
    queries: list[Tensor] = field(default_factory=list, init=False)
    scales: list[float | None] = field(default_factory=list, init=False)

    @classmethod
    def behind(
        cls,
        cache: KVCache,
        tokens: int,
        *,
        positions: Tensor | None = None,
        visible: Tensor | tuple[Visible, ...] | None = None,
        deepstack: Tensor | None = None,
        records_kv: bool = False,
        records_queries: bool = False,
    ) -> Forward:
        """One sequence: so many tokens behind a cache, by default at its next positions."""
        if positions is None:
            positions = cache.next_positions(tokens)
        return cls((Sequence(cache, tokens, visible),), positions, deepstack, records_kv, records_queries)

    @classmethod
    def packed(cls, caches: Run[KVCache], tokens: Run[int]) -> Forward:
        """Several sequences in one run, each behind its own cache at its next positions."""
        positions = [cache.next_positions(count) for cache, count in zip(caches, tokens, strict=True)]
        return cls(tuple(map(Sequence, caches, tokens)), torch.cat(positions))

    @classmethod
    def side_by_side(cls, cache: KVCache, tokens: Run[int], *, records_queries: bool = False) -> Forward:
        """Several texts behind one cache, each at its next positions as if the others were not there."""
        positions = torch.cat([cache.next_positions(count) for count in tokens])
        before = torch.arange(cache.length, device=positions.device)
        visible: list[Visible] = []
        start = 0
        for count in tokens:
            rows = slice(start, start + count)
            own = torch.arange(cache.length + start, cache.length + start + count, device=positions.device)
            visible.append(Visible(rows, torch.cat([before, own]) if start else slice(cache.length + count), None))
            start += count
        sequence = Sequence(cache, start, tuple(visible))
        return cls((sequence,), positions, records_queries=records_queries)

    @property
    def sizes(self) -> list[int]:
        """Tokens of each sequence."""
        return [sequence.tokens for sequence in self.sequences]

    def start(self) -> None:
        """Make room in the caches; called by a decoder before its first layer."""
        for sequence in self.sequences:
            if sequence.slots is None:
                sequence.cache.reserve(sequence.tokens)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
        """One layer's attention of un-rotated queries (heads, n, d_h), keys and values (n_h, n, d_h).

        Records, rotates, writes and attends. Returns (n, heads * d_h). All of it happens where the caches are, on one
        device, wherever the layer is.
        """
        home, away = self.sequences[0].cache.keys.device, query.device
        query, key, value = query.to(home), key.to(home), value.to(home)
        if self.records_kv:
            self.keys.append(key)
            self.values.append(value)
        if self.records_queries:
            self.queries.append(query)
            self.scales.append(scale)
        rotate = self.sequences[0].cache.rotate
        positions = self.positions.to(home)
        query, key = rotate(query, positions), rotate(key, positions)
        if len(self.sequences) == 1:
            return self.sequences[0].attend(layer, query, key, value, scale).to(away)
        parts = (states.split(self.sizes, dim=1) for states in (query, key, value))
        return torch.cat(
            [
                sequence.attend(layer, own_query, own_key, own_value, scale)
                for sequence, own_query, own_key, own_value in zip(self.sequences, *parts, strict=True)
            ]
        ).to(away)

    def finish(self) -> None:
        """Count the new tokens as part of their caches; called by a decoder behind its last layer."""
        positions = self.positions.split(self.sizes, -1)
        for sequence, placed in zip(self.sequences, positions, strict=True):
            if sequence.slots is None:
                sequence.cache.advance(placed)

    def kv(self) -> KV:
        """The un-rotated KVs that were recorded, at the run's positions."""
        return KV(torch.stack(self.keys), torch.stack(self.values), self.positions)
