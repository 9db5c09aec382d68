"""Which tokens see which in chunked prefill, computed for a run of tokens behind a cache (arXiv 2506.19225).

A token sees what stands before it, with one exception: a visual token does not see visual tokens of blocks further
back than `previous_blocks`. Text (the prompt and the time texts) sees everything before it and is seen by all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from videox2l.models.forward import Visible

TEXT = -1
"""Block number of a text token."""


def block_visibility(blocks: Tensor, run_tokens: int, previous_blocks: int) -> tuple[Visible, ...]:
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
        found.append(Visible(rows - first, columns, columns <= rows[:, None]))
    return tuple(found)
