"""Relevance to levels: the top-k chunks get the finest level, all others the coarsest."""

from __future__ import annotations

from torch import Tensor

from videox2l.index import VideoIndex
from videox2l.types import Selection


def select_top_k(scores: Tensor, index: VideoIndex, k: int | None) -> Selection:
    """Give the finest level to the k most relevant chunks, the coarsest to the rest.

    scores: relevance per chunk, (chunks,). k: None selects every chunk scored above 0; a k beyond the number of chunks
    selects all. Chunks that the coarsest level already keeps at the finest ratio (a video's first and last, by
    default) need no place among the k. Ties go to the earlier chunk.
    """
    fine, coarse = index.levels[0], index.levels[-1]
    already_fine = {chunk for chunk, e in enumerate(index.entries) if e.ratios[coarse] <= e.ratios[fine]}
    order = scores.sort(descending=True, stable=True).indices.tolist()
    candidates = [chunk for chunk in order if chunk not in already_fine and (k is not None or scores[chunk] > 0)]
    chosen = set(candidates[:k])
    levels = tuple(fine if chunk in chosen else coarse for chunk in range(len(index.entries)))
    return Selection(levels, tuple(scores.tolist()))
