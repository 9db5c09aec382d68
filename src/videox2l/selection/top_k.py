"""Relevance to levels: the top-k chunks get the finest level, all others the coarsest."""

from __future__ import annotations

from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.types import Selection


def select_top_k(scores: Tensor, index: VideoIndex, k: int | None) -> Selection:
    """Give the finest level to the k most relevant chunks, the coarsest to the rest.

    scores: relevance per chunk, (chunks,). k: None selects every chunk scored above 0; a k beyond the number of chunks
    selects all. Among the k most relevant, chunks that the coarsest level already keeps at the finest ratio (a video's
    first and last, by default) need no place. Ties go to the earlier chunk.
    Raises: SettingsError if k is negative.
    """
    if k is not None and k < 0:
        raise SettingsError(f"k={k} is negative: pass how many chunks to re-load in full detail")
    fine, coarse = index.levels[0], index.levels[-1]
    order = scores.sort(descending=True, stable=True).indices.tolist()
    already_fine = {c for c, e in enumerate(index.entries) if e.stored_as[coarse] == e.stored_as[fine]}
    if k is None:
        chosen = {chunk for chunk in order if scores[chunk] > 0}
    else:
        chosen = set([chunk for chunk in order if chunk not in already_fine][:k])
    levels = tuple(fine if chunk in chosen else coarse for chunk in range(len(index.entries)))
    wanted = len(chosen) if k is None else k
    moments = [chunk for chunk in order if chunk in chosen or chunk in already_fine][:wanted]
    return Selection(levels, tuple(scores.tolist()), tuple(moments))
