"""Evenly spaced chunks in full detail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.selection.base import Selector, check_k
from videox2l.types import Selection


@dataclass(frozen=True)
class Even(Selector):
    """The middles of k equal parts of the video at the finest level, all other chunks at the coarsest.

    It knows nothing of the question: what an oracle must beat.

    k: how many chunks; 3 by default. A k beyond the video's chunks reads all of them in full detail.
    fine_edges: whether the video's first and last chunk are read at the finest level too. They need no place among
        the k, which are spread over the chunks between them. True by default; False saves their tokens.
    leaves_out: whether nothing is read of all other chunks, rather than the coarsest level. False by default.
    Raises: SettingsError for a negative k.
    """

    needs_scores: ClassVar[bool] = False

    k: int = 3
    leaves_out: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_k(self.k)

    def select(self, scores: Tensor | None, index: VideoIndex) -> Selection:
        """The chunks in which the middles of k equal parts lie, the earlier one where a middle lies between two."""
        edges = self.edges(index)
        candidates = [chunk for chunk in range(len(index.entries)) if chunk not in edges]
        k = min(self.k, len(candidates))
        chosen = [candidates[((2 * part + 1) * len(candidates) - 1) // (2 * k)] for part in range(k)]
        return Selection(self.two_levels(chosen, index, self.leaves_out), scores=None, moments=tuple(chosen))
