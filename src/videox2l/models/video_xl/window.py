"""Where the summary tokens of a window stand among its raw tokens, at one level or at several in one pass.

A window is one chunk's visual (raw) tokens with the summary tokens inserted among them. See "Layout of a window" in
the published behaviour: after every r raw tokens, one summary token.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from videox2l.models.forward import Visible


def summary_ends(raw_tokens: int, ratio: int, carried: int, layout: Literal["carry", "even"]) -> tuple[list[int], int]:
    """After how many raw tokens of the window each summary token stands, and the remainder carried on.

    carried: raw tokens since the last summary of the window before (only "carry" counts on from them).
    A ratio of 1 means no compression: there are no summary tokens, the raw tokens' own KVs are kept.
    """
    if ratio == 1:
        return [], 0
    if layout == "even":
        count = max(1, int(raw_tokens / ratio + 0.5))
        return [number * raw_tokens // count for number in range(1, count + 1)], 0
    ends = list(range(ratio - carried, raw_tokens + 1, ratio))
    return ends, (raw_tokens + carried) % ratio


@dataclass(frozen=True)
class Window:
    """The layout of one window in a pass.

    The main stream holds the raw tokens with the summaries of `ratio` interleaved and runs exactly as that ratio's
    own pass. The summaries of `extra` ratios follow it: they read the memory, the raw tokens before them, and the
    earlier summaries of their own ratio; nothing reads them.

    ends: raw tokens before each summary of the main stream; extra: the same for every further ratio.
    """

    raw_tokens: int
    ratio: int
    ends: tuple[int, ...]
    extra: dict[int, tuple[int, ...]]

    def __len__(self) -> int:
        return self.main_tokens + self.extra_tokens

    @property
    def main_tokens(self) -> int:
        """Length of the main stream."""
        return self.raw_tokens + len(self.ends)

    @property
    def extra_tokens(self) -> int:
        """Number of summary tokens behind the main stream."""
        return sum(len(ends) for ends in self.extra.values())

    @cached_property
    def summary_offsets(self) -> Tensor:
        """Offsets of the main stream's summaries, shape (len(ends),)."""
        return torch.tensor(self.ends, dtype=torch.long) + torch.arange(len(self.ends))

    @cached_property
    def raw_offsets(self) -> Tensor:
        """Offsets of the raw tokens in the main stream, shape (raw_tokens,)."""
        raw = torch.arange(self.raw_tokens)
        return raw + torch.searchsorted(torch.tensor(self.ends, dtype=torch.long), raw, right=True)

    @cached_property
    def kept_offsets(self) -> Tensor:
        """Offsets of the main stream whose KVs are kept: its summaries, or at ratio 1 all of it."""
        return self.summary_offsets if self.ratio > 1 else self.raw_offsets

    @cached_property
    def kept(self) -> Tensor:
        """Offsets of all tokens whose KVs are kept: those of the main stream, and the extra summaries behind it."""
        return torch.cat([self.kept_offsets, torch.arange(self.main_tokens, len(self))])

    @cached_property
    def is_summary(self) -> Tensor:
        """Which tokens of main stream and extra summaries are summaries, bool (main + extra,)."""
        return torch.ones(len(self), dtype=torch.bool).index_fill(0, self.raw_offsets, False)

    @cached_property
    def extra_ends(self) -> Tensor:
        """Raw tokens before each extra summary, one ratio after another, shape (extra_tokens,)."""
        return torch.tensor([end for ends in self.extra.values() for end in ends], dtype=torch.long)

    @cached_property
    def positions(self) -> Tensor:
        """Positions of main stream and extra summaries from the window's start, shape (main + extra,).

        An extra summary stands one past the last main element that precedes it.
        """
        fine = torch.searchsorted(torch.tensor(self.ends, dtype=torch.long), self.extra_ends, right=True)
        return torch.cat([torch.arange(self.main_tokens), self.extra_ends + fine])

    @cached_property
    def extra_mask(self) -> Tensor:
        """Which window tokens an extra summary sees, bool (extra, main + extra); it sees all of the memory."""
        sees_main = torch.zeros(self.extra_tokens, self.main_tokens, dtype=torch.bool)
        sees_main[:, self.raw_offsets] = torch.arange(self.raw_tokens) < self.extra_ends[:, None]
        own = [torch.ones(len(ends), len(ends), dtype=torch.bool).tril() for ends in self.extra.values()]
        return torch.cat([sees_main, torch.block_diag(*own).bool() if own else sees_main[:, :0]], dim=1)

    def visible(self, past: int, device: torch.device) -> tuple[Visible, ...] | None:
        """What the window's tokens see behind a memory of `past` tokens, which all of them see, as `Forward` takes it.

        The main stream sees all that stands before it, as it does where its ratio is the only one.
        """
        if not self.extra_tokens:
            return None
        main = Visible(slice(0, self.main_tokens), slice(0, past + self.main_tokens), None)
        sees_memory = torch.ones(self.extra_tokens, past, dtype=torch.bool)
        mask = torch.cat([sees_memory, self.extra_mask], dim=1).to(device)
        return main, Visible(slice(self.main_tokens, len(self)), slice(None), mask)
