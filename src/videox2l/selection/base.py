"""What a selector is: the chunks' scores and an index in, a level for every chunk out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from videox2l.checks import check_number
from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.levels import NOTHING, Level, level_list
from videox2l.types import Scores, Selection

WIDER = 4
"""Times as much detail that a widened selection reads."""


@dataclass(frozen=True)
class Selector(ABC):
    """Chooses at which level every chunk of a video is read.

    A selector is a frozen dataclass with one method, `select`.

    fine_edges: whether the video's first and last chunk are read at the finest level whatever their score. They need
        no place among the chunks a selector chooses, and count as moments only if their scores put them there. True
        by default, as published; False saves their tokens.
    """

    needs_scores: ClassVar[bool] = True
    """Whether `select` reads the scores; an oracle runs only if so."""
    uses_middle_levels: ClassVar[bool] = False
    """Whether `select` may choose any level of the index, not only the finest and the coarsest."""

    fine_edges: bool = field(default=True, kw_only=True)

    @abstractmethod
    def select(self, scores: Tensor | None, index: VideoIndex) -> Selection:
        """The level of every chunk.

        scores: relevance per chunk, finite, (chunks,); higher is more relevant. None where no oracle ran.
        Raises: SettingsError if this video can't be read so.
        """

    def choose(self, scores: Scores | None, index: VideoIndex) -> Selection:
        """`select` with all that an oracle says; a selector that reads more than the scores of chunks overrides it."""
        return self.select(None if scores is None else scores.chunks, index)

    def check(self, levels: tuple[int, ...], read_by_oracle: Collection[int] = ()) -> None:
        """Refuse levels that would be stored and never read.

        levels: those that an index is made with. read_by_oracle: those that the oracle reads.
        Raises: SettingsError.
        """
        unread = [level for level in levels[1:-1] if level not in read_by_oracle]
        if unread and not self.uses_middle_levels:
            raise SettingsError(
                f"nothing would read level {unread[0]} of {level_list(levels)}: {type(self).__name__} chooses the "
                "finest and the coarsest; pass two levels, or a selector that reads them all, such as adaptive"
            )

    def most_tokens(self, index: VideoIndex) -> int | None:
        """Tokens of prompt and video that a selection may have, where the user set a limit."""
        return None

    def widened(self, selection: Selection, index: VideoIndex) -> Selection | None:
        """A selection with about WIDER times the detail: further chunks at the finest level, the best first.

        None where nothing was scored, all is read in full detail already, or the limit of tokens has no room for more.
        """
        if selection.scores is None:
            return None
        finest, limit = index.levels[0], self.most_tokens(index)
        used, frames = index.tokens(selection.levels, selection.chosen_frames), dict(selection.chosen_frames)
        levels, moments = list(selection.levels), list(selection.moments)
        coarsest = index.tokens((NOTHING if NOTHING in levels else index.levels[-1],) * len(levels))
        enough = coarsest + WIDER * (used - coarsest)
        for chunk in best_first(torch.tensor(selection.scores)):
            entry, part = index.entries[chunk], frames.get(chunk)
            added = entry.tokens_at(finest) - entry.tokens_at(levels[chunk], part)
            if not added or (limit is not None and used + added > limit):
                continue
            frames.pop(chunk, None)
            levels[chunk], used = finest, used + added
            moments += [chunk] * (chunk not in moments)
            if used >= enough:
                break
        if (tuple(levels), frames) == (selection.levels, dict(selection.chosen_frames)):
            return None
        return replace(selection, levels=tuple(levels), moments=tuple(moments), chosen_frames=frames)

    def edges(self, index: VideoIndex) -> frozenset[int]:
        """The chunks that are read at the finest level whatever is chosen."""
        return frozenset({0, len(index.entries) - 1} if self.fine_edges else ())

    def two_levels(self, chosen: Collection[int], index: VideoIndex, leaves_out: bool = False) -> tuple[Level, ...]:
        """The finest level for these chunks and the edges, for all others the coarsest, or NOTHING to leave them out.

        An edge of which the coarsest level keeps as many KVs needs no other (published: `two_pass` compresses it so).
        """
        fine, coarse = index.levels[0], NOTHING if leaves_out else index.levels[-1]
        entries = index.entries
        edges = (edge for edge in self.edges(index) if entries[edge].tokens_at(coarse) < entries[edge].tokens_at(fine))
        read_fine = {*edges, *chosen}
        return tuple(fine if chunk in read_fine else coarse for chunk in range(len(index.entries)))


def best_first(scores: Tensor) -> list[int]:
    """The chunks by falling score; of equal ones the earlier comes first."""
    return scores.sort(descending=True, stable=True).indices.tolist()


def check_k(k: int) -> None:
    """Raises: SettingsError for what is not a number of chunks."""
    check_number(k, 0, "k", "chunks")
