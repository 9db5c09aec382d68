"""Which tokens see which in chunked prefill, computed for a run of tokens behind a cache (arXiv 2506.19225).

A token sees what stands before it, with one exception: a visual token does not see visual tokens of blocks further
back than `previous_blocks`. Text (the prompt and the time texts) sees everything before it and is seen by all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TEXT = -1
"""Block number of a text token."""


@dataclass(frozen=True)
class Sight:
    """New tokens that see the same stretch of cache and run.

    rows: (r,) of the run. columns: (c,) of cache and run. mask: bool (r, c), causal.
    """

    rows: Tensor
    columns: Tensor
    mask: Tensor


def sights(blocks: Tensor, run_tokens: int, previous_blocks: int) -> list[Sight]:
    """What each of the last `run_tokens` tokens sees.

    blocks: (m,) the block number of every token of cache and run, in order, TEXT for text.
    """
    steps = torch.arange(len(blocks), device=blocks.device)
    first = len(blocks) - run_tokens
    found = []
    for block in blocks[first:].unique():
        rows = first + (blocks[first:] == block).nonzero()[:, 0]
        is_near = (blocks == TEXT) | (block == TEXT) | (block - blocks <= previous_blocks)
        columns = (is_near & (steps <= rows[-1])).nonzero()[:, 0]
        found.append(Sight(rows - first, columns, columns <= rows[:, None]))
    return found
