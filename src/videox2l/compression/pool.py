"""Average pooling along a frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.compression.training_free import Averaging, Prefilled


@dataclass(frozen=True)
class Pool(Averaging):
    """Average the KVs of consecutive visual tokens of a frame (Video-XL-2, arXiv 2506.19225).

    A level is the length of a window, to a token: a frame is cut into equal windows of about that length. A level
    beyond a frame's tokens cuts runs of whole frames that have so many tokens together. Keys are pooled before RoPE,
    and a window takes the position of its middle token.

    levels: compression ratios, finest first; (2, 32) by default.
    context: what a chunk sees of earlier ones; "compressed" by default, "window:N", "full" or "none".
    context_tokens: tokens of prompt and context at most; None by default, 8192.
    positions: where chunks stand; "contiguous" by default, or "original".
    one_time_from: the ratio from which on a chunk keeps one time of its text; 8 by default, None for no ratio.
    `TrainingFree` says when to change them, and what it refuses.
    """

    def groups(self, chunk: Prefilled, keys: Tensor, level: int) -> Tensor:
        """Windows of equal length, to a token, over each run of frames."""
        frame = chunk.tokens.frame[~chunk.tokens.is_text]
        sizes = frame.unique_consecutive(return_counts=True)[1].tolist()
        representatives, start, run = [], 0, 0
        for place, size in enumerate(sizes):
            run += size
            if run < level and place < len(sizes) - 1:
                continue  # take the next frame in
            windows = max(1, int(run / level + 0.5))
            edges = torch.arange(windows + 1) * run // windows
            middles = start + (edges[:-1] + edges[1:] - 1) // 2
            representatives.append(middles.repeat_interleave(edges.diff()))
            start, run = start + run, 0
        return torch.cat(representatives).to(keys.device)
