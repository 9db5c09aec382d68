"""The k most relevant chunks in full detail."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.selection.base import Selector, best_first, check_k
from videox2l.types import Selection


@dataclass(frozen=True)
class TopK(Selector):
    """The k chunks of highest score at the finest level, all others at the coarsest (Video-X2L, arXiv 2506.21184).

    k: how many chunks; 3 by default. More find more and take more of the cache; a k beyond the video's chunks reads
        all of them in full detail. Of equal scores the earlier chunk is taken.
    fine_edges: whether the video's first and last chunk are read at the finest level whatever their score. They need
        no place among the k. True by default, as published; False saves their tokens.
    leaves_out: whether nothing is read of all other chunks, rather than the coarsest level. False by default.
    Raises: SettingsError for a negative k.
    """

    k: int = 3
    leaves_out: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_k(self.k)

    def select(self, scores: Tensor | None, index: VideoIndex) -> Selection:
        """The best k of the chunks that are not fine anyway; an edge is a moment if it is among the best k of all."""
        assert scores is not None
        order, edges = best_first(scores), self.edges(index)
        chosen = [chunk for chunk in order if chunk not in edges][: self.k]
        moments = tuple(chunk for rank, chunk in enumerate(order) if chunk in chosen or rank < self.k)
        return Selection(self.two_levels(chosen, index, self.leaves_out), tuple(scores.tolist()), moments)
