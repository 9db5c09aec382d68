"""Relevance to levels: the top-k chunks get the finest level, all others the coarsest."""

from __future__ import annotations

from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.types import Selection


def select_top_k(scores: Tensor, index: VideoIndex, k: int | None, fine_edges: bool = True) -> Selection:
    """Give the finest level to the k most relevant chunks, the coarsest to the rest.

    scores: relevance per chunk, (chunks,). k: None selects every chunk scored above 0; a k beyond the number of chunks
    selects all. A video's first and last chunk get the finest level too and need no place among the k, nor do chunks
    of which the coarsest level keeps as many KVs as the finest. Ties go to the earlier chunk.
    Raises: SettingsError if k is negative.
    """
    if k is not None and k < 0:
        raise SettingsError(f"k={k} is negative: pass how many chunks to re-load in full detail")
    fine, coarse = index.levels[0], index.levels[-1]
    order = scores.sort(descending=True, stable=True).indices.tolist()
    already_fine = {chunk for chunk, e in enumerate(index.entries) if e.tokens[coarse] >= e.tokens[fine]}
    edges = {0, len(index.entries) - 1} - already_fine if fine_edges else set()
    if k is None:
        chosen = {chunk for chunk in order if scores[chunk] > 0}
    else:
        chosen = set([chunk for chunk in order if chunk not in already_fine | edges][:k])
    levels = tuple(fine if chunk in chosen | edges else coarse for chunk in range(len(index.entries)))
    wanted = len(chosen) if k is None else k
    moments = [chunk for chunk in order if chunk in chosen | edges | already_fine][:wanted]
    return Selection(levels, tuple(scores.tolist()), tuple(moments))
