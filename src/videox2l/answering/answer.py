"""An answer with the moments it came from and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videox2l.index.video_index import VideoIndex
from videox2l.types import ChunkReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Answer:
    """An answer to one question.

    moments: the chunks it came from: those that the selector chose to read in full detail, the most relevant first.
    cache_tokens: prompt and video tokens in the cache it was decoded from; full_cache_tokens: the same without
    compression. timings_s: seconds by stage. notes: what the user should know, as words the model has no token for.
    """

    text: str
    chunks: tuple[ChunkReport, ...]
    cache_tokens: int
    full_cache_tokens: int
    timings_s: Mapping[str, float]
    model: str
    index_reused: bool
    question: str
    moments: tuple[ChunkReport, ...]
    index: VideoIndex = field(repr=False)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that `videox2l ask --json` prints."""
        return {
            "answer": self.text,
            "chunks": [asdict(chunk) for chunk in self.chunks],
            "cache_tokens": self.cache_tokens,
            "full_cache_tokens": self.full_cache_tokens,
            "timings_s": {stage: round(seconds, 4) for stage, seconds in self.timings_s.items()},
            "model": self.model,
            "index_reused": self.index_reused,
            "notes": list(self.notes),
        }

    def plot(self, file: str | Path | None = None) -> Figure:
        """Draw the timeline: relevance and level of every chunk, with its thumbnail.

        file: where to save the picture; its ending gives the format.
        Raises: SettingsError if the format is unknown, StoreError if the file can't be written.
        """
        from videox2l.answering.timeline import draw_timeline, save_figure

        figure = draw_timeline(
            f"{self.question}  \N{RIGHTWARDS ARROW}  {self.text}",
            f"{self.cache_tokens} of {self.full_cache_tokens} tokens in the cache "
            f"({self.full_cache_tokens / self.cache_tokens:.1f}x smaller)",
            self.chunks,
            self.index.thumbnails,
        )
        if file is not None:
            save_figure(figure, Path(file))
        return figure
