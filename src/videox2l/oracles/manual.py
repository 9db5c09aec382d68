"""The chunks the user names, by number or by time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.times import parse_time


@dataclass(frozen=True)
class Manual(Oracle):
    """Exactly the chunks with these numbers, and those that overlap these time ranges.

    chunks: chunk numbers from 0. ranges_s: (start, end) in seconds, end included.
    """

    decides: ClassVar[bool] = True

    chunks: tuple[int, ...] = ()
    ranges_s: tuple[tuple[float, float], ...] = ()

    def score(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """1 for a named chunk, 0 for the others. Raises: SettingsError if the video has no such chunk."""
        count, end_s = len(index.entries), index.chunks[-1].end_s
        for chunk in self.chunks:
            if not 0 <= chunk < count:
                raise SettingsError(f"there is no chunk {chunk}: the video has chunks 0 to {count - 1}")
        named = set(self.chunks)
        for start, end in self.ranges_s:
            hit = {chunk.index for chunk in index.chunks if chunk.start_s <= end and start < chunk.end_s}
            if not hit:
                raise SettingsError(f"no chunk lies between {start:g} s and {end:g} s: the video ends at {end_s:g} s")
            named |= hit
        return torch.tensor([float(chunk in named) for chunk in range(count)])

    @classmethod
    def parse(cls, text: str) -> Manual:
        """Read "3,5" (chunk numbers) and "1:10-1:30" or "70s-90s" (times), separated by commas.

        Raises: SettingsError for anything else.
        """
        chunks, ranges = [], []
        for part in filter(None, (part.strip() for part in text.split(","))):
            if part.isdigit():
                chunks.append(int(part))
                continue
            start, dash, end = part.partition("-")
            if not dash:
                start = end = part
            ranges.append((parse_time(start), parse_time(end)))
        if not chunks and not ranges:
            raise SettingsError("the manual oracle needs moments: pass chunk numbers as 3,5 or times as 1:10-1:30")
        return cls(tuple(chunks), tuple(ranges))
