"""A window's run behind a memory: what its attention layers read, and the KVs that are kept of it."""

from __future__ import annotations

import torch
from torch import Tensor

from videox2l.kv.attention import attend
from videox2l.kv.cache import KVCache
from videox2l.models.video_xl.window import Window


class WindowForward:
    """Stands in for a `Forward` in the layers that a window runs through.

    The main stream attends causally, as it does where its ratio is the only one; the extra summaries behind it see
    what `Window.extra_mask` says. The memory is only read: the window's own KVs are scratch behind it.

    window: the layout of the n tokens to run.
    memory: what stands before them.

    is_summary: bool (n,), which tokens are summaries.
    kept: (k,), which tokens' KVs are kept.
    keys, values: their un-rotated KVs, layer by layer, (n_h, k, d_h) each.
    """

    def __init__(self, window: Window, memory: KVCache):
        device, past = memory.keys.device, memory.length
        self.window, self.memory = window, memory
        self.is_summary = window.is_summary.to(device)
        self.kept = window.kept.to(device)
        self.positions = memory.next_position + window.positions.to(device)
        steps = torch.arange(past + window.main_tokens, device=device)
        self.kept_main_mask = steps <= past + window.kept_offsets.to(device)[:, None]
        sees_memory = torch.ones(window.extra_tokens, past, dtype=torch.bool)
        self.extra_mask = torch.cat([sees_memory, window.extra_mask], dim=1).to(device)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        memory.reserve(len(window))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
        """One layer's attention of un-rotated queries (heads, n, d_h), keys and values (n_h, n, d_h).

        Returns (n, heads * d_h).
        """
        query = self.memory.rotate(query, self.positions)
        return self._attend(layer, query, key, value, self.window.main_tokens, None, scale)

    def attend_kept(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
        """The same for the queries (heads, k, d_h) of kept tokens alone. Returns (k, heads * d_h)."""
        query = self.memory.rotate(query, self.positions[self.kept])
        return self._attend(layer, query, key, value, len(self.window.kept_offsets), self.kept_main_mask, scale)

    def keep(self, key: Tensor, value: Tensor) -> None:
        """Keep the next layer's un-rotated KVs of kept tokens, (n_h, k, d_h)."""
        self.keys.append(key)
        self.values.append(value)

    def _attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        main_queries: int,
        main_mask: Tensor | None,
        scale: float | None,
    ) -> Tensor:
        """Attention of rotated queries, those of the main stream first."""
        self.keep(key[:, self.kept], value[:, self.kept])
        keys, values = self.memory.write(layer, self.memory.rotate(key, self.positions), value)
        end = self.memory.length + self.window.main_tokens
        attended = attend(query[:, :main_queries], keys[:, :end], values[:, :end], main_mask, scale)
        if not self.window.extra:
            return attended
        return torch.cat([attended, attend(query[:, main_queries:], keys, values, self.extra_mask, scale)])
