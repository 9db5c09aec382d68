"""The whole video at one level."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.levels import Level, level_list
from videox2l.selection.base import Selector
from videox2l.types import Selection


@dataclass(frozen=True)
class OneLevel(Selector):
    """Every chunk at the same level, whatever the question; nothing is a moment of the answer.

    level: the level: a nominal compression ratio, or FRESH. None, the default, is the coarsest one.
    fine_edges: whether the video's first and last chunk are read at the finest level all the same. Here False by
        default.
    """

    needs_scores: ClassVar[bool] = False
    uses_middle_levels: ClassVar[bool] = True

    level: Level | None = None
    fine_edges: bool = field(default=False, kw_only=True)

    def select(self, scores: Tensor | None, index: VideoIndex) -> Selection:
        """The level for all. Raises: SettingsError if the index does not have it."""
        self.check(index.levels)
        level, edges = index.levels[-1] if self.level is None else self.level, self.edges(index)
        levels = (index.levels[0] if chunk in edges else level for chunk in range(len(index.entries)))
        return Selection(tuple(levels), scores=None, moments=())

    def check(self, levels: tuple[int, ...], read_by_oracle: Collection[int] = ()) -> None:
        """Raises: SettingsError if the level is not one of these."""
        if self.level not in (None, *levels):
            raise SettingsError(f"level {self.level} can't be read: the index has {level_list(levels)}")
