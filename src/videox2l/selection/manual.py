"""The chunks the user names, by number or by time, in full detail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.selection.base import Selector
from videox2l.times import parse_time
from videox2l.types import Selection


@dataclass(frozen=True)
class Manual(Selector):
    """The named chunks at the finest level, all others at the coarsest.

    chunks: chunk numbers, from 0. None by default.
    ranges_s: (start, end) in seconds; every chunk that a range overlaps is taken. The end is exclusive: a range that
        ends where a chunk starts does not take it. A range whose end is its start is a single time, and takes the
        chunk that holds it. None by default.
    fine_edges: whether the video's first and last chunk are read at the finest level too. True by default; False
        saves their tokens.
    leaves_out: whether nothing is read of all other chunks, rather than the coarsest level. False by default.
    Raises: SettingsError if nothing is named, or a range runs backwards.
    """

    needs_scores: ClassVar[bool] = False

    chunks: tuple[int, ...] = ()
    ranges_s: tuple[tuple[float, float], ...] = ()
    leaves_out: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not self.chunks and not self.ranges_s:
            raise SettingsError("the manual selector needs moments: pass chunk numbers as 3,5 or times as 1:10-1:30")
        for start, end in self.ranges_s:
            if not start <= end:
                raise SettingsError(
                    f"the time range from {start:g} s to {end:g} s runs backwards: pass its start first"
                )

    @classmethod
    def parse(cls, text: str, *, fine_edges: bool = True, leaves_out: bool = False) -> Manual:
        """Read "3,5" (chunk numbers), "1:10-1:30" or "70s-90s" (time ranges) and "1:10" (a time), joined by commas.

        Raises: SettingsError for anything else.
        """
        chunks, ranges = [], []
        for part in filter(None, (part.strip() for part in text.split(","))):
            if part.isdecimal():
                chunks.append(int(part))
                continue
            start, dash, end = part.partition("-")
            ranges.append((parse_time(start), parse_time(end if dash else start)))
        return cls(tuple(chunks), tuple(ranges), fine_edges=fine_edges, leaves_out=leaves_out)

    def select(self, scores: Tensor | None, index: VideoIndex) -> Selection:
        """The named chunks. Raises: SettingsError if the video has no such chunk."""
        chosen = self._named(index)
        return Selection(self.two_levels(chosen, index, self.leaves_out), scores=None, moments=tuple(sorted(chosen)))

    def _named(self, index: VideoIndex) -> set[int]:
        count, start_s, end_s = len(index.entries), index.chunks[0].start_s, index.chunks[-1].end_s
        if absent := [chunk for chunk in self.chunks if not 0 <= chunk < count]:
            raise SettingsError(f"there is no chunk {absent[0]}: the video has chunks 0 to {count - 1}")
        named = set(self.chunks)
        for start, end in self.ranges_s:
            found = {
                chunk.index
                for chunk in index.chunks
                if start < chunk.end_s and (chunk.start_s < end or chunk.start_s == start)
            }
            if not found:
                where = f"at {start:g} s" if start == end else f"from {start:g} s to {end:g} s"
                raise SettingsError(
                    f"there is no chunk {where}: the video's chunks run from {start_s:g} s to {end_s:g} s"
                )
            named |= found
        return named
