"""An answer with the moments it came from and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videox2l.index.video_index import VideoIndex
from videox2l.levels import plain_level
from videox2l.times import clock
from videox2l.types import ChunkReport, Cue, Moment, Selection
from videox2l.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FirstLook:
    """What was read before a second look, and how unsure the model was with it.

    margin: by how much the likeliest first token of the answer was more probable than the next one, from 0 to 1.
    cache_tokens: prompt and video tokens in the cache.
    seconds: what loading it and reading the question took; the answer's timings have it too.
    """

    margin: float
    cache_tokens: int
    seconds: float


@dataclass(frozen=True, repr=False)
class Answer:
    """An answer to one question.

    text: the answer.
    chunks: what was read of every chunk, and how.
    moments: where in the video it came from, the best first: in the chunks that were chosen to be read in full detail,
        where single frames were scored, to the second; none where no frame stands out. Else these chunks. Where the
        question names clear times, or quotes subtitles, these.
    cache_tokens: prompt and video tokens in the cache it was decoded from; full_cache_tokens: the same without
    compression. timings_s: seconds by stage. model: its name. index_reused: whether the store had the index.
    question: what was asked. selection: each chunk's level, and what chose it. index: of the video.
    notes: what the user should know, as words the model has no token for.
    cues: the subtitles whose text stood before the question.
    first_look: what a second look cost; None where there was none.
    """

    text: str
    chunks: tuple[ChunkReport, ...]
    cache_tokens: int
    full_cache_tokens: int
    timings_s: Mapping[str, float]
    model: str
    index_reused: bool
    question: str
    moments: tuple[Moment, ...]
    selection: Selection
    index: VideoIndex
    notes: tuple[str, ...] = ()
    cues: tuple[Cue, ...] = ()
    first_look: FirstLook | None = None

    def __repr__(self) -> str:
        at = ", ".join(clock(moment.start_s if moment.peak_s is None else moment.peak_s) for moment in self.moments)
        return f"Answer({self.text!r}, moments: {at or 'none'}, {self.cache_tokens} of {self.full_cache_tokens} tokens)"

    def to_json(self) -> dict[str, Any]:
        """The object that `videox2l ask --json` prints."""
        return {
            "question": self.question,
            "answer": self.text,
            "moments": [asdict(moment) for moment in self.moments],
            "video": self.index.video_name,
            "duration_s": round(self.index.duration_s, 3),
            "sampling": self.index.spec.video.sampling,
            "oracle": self.selection.oracle,
            "selector": dict(self.selection.selector),
            "subtitles": self.selection.subtitles,
            "cues": [asdict(cue) for cue in self.cues],
            "chunks": [asdict(chunk) | {"level": plain_level(chunk.level)} for chunk in self.chunks],
            "cache_tokens": self.cache_tokens,
            "full_cache_tokens": self.full_cache_tokens,
            "first_look": None if self.first_look is None else asdict(self.first_look),
            "timings_s": {stage: round(seconds, 4) for stage, seconds in self.timings_s.items()},
            "model": self.model,
            "index_reused": self.index_reused,
            "notes": list(self.notes),
            "version": __version__,
        }

    def plot(self, file: str | Path | None = None) -> Figure:
        """Draw the timeline: relevance and level of every chunk, and pictures of the moments among others.

        file: where to save the picture; its ending gives the format.
        Raises: SettingsError if the format is unknown, StoreError if the file can't be written.
        """
        from videox2l.answering.timeline import draw_timeline, save_figure

        figure = draw_timeline(
            f"{self.question}  \N{RIGHTWARDS ARROW}  {self.text}",
            f"{self.cache_tokens} of {self.full_cache_tokens} tokens in the cache "
            f"({self.full_cache_tokens / self.cache_tokens:.1f}x smaller)",
            self.chunks,
            self.moments,
            self.selection.frames,
            self.index.thumbnails,
        )
        if file is not None:
            save_figure(figure, Path(file))
        return figure
