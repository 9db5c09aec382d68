"""The small data types that flow from step to step; steps meet in these and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from videox2l.levels import Level


@dataclass(frozen=True)
class Frames:
    """Consecutive sampled frames of one video.

    pixels: uint8 RGB, shape (T, 3, H, W), upright (rotation metadata applied).
    timestamps_s: float64, shape (T,): true presentation times in seconds from the start of the video.
    """

    pixels: Tensor
    timestamps_s: Tensor

    def __len__(self) -> int:
        return self.pixels.shape[0]


@dataclass(frozen=True)
class Chunk:
    """A run of consecutive sampled frames, compressed as one unit.

    The frame range is half open; start_s is the first frame's time, end_s where the next chunk (or nothing) begins.
    """

    index: int
    first_frame: int
    end_frame: int
    start_s: float
    end_s: float

    @property
    def frames(self) -> int:
        """Number of frames in the chunk."""
        return self.end_frame - self.first_frame


@dataclass(frozen=True)
class VideoOutline:
    """What is known of a video before its first frame.

    frames: sampled frames to come. duration_s: its length in seconds. start_s: time of its first sampled frame.
    """

    frames: int
    duration_s: float
    start_s: float = 0.0


@dataclass(frozen=True)
class VideoSpec:
    """Which frames of which video were looked at, and how they were cut into chunks.

    content: hex digest of the video's content.
    times_s: seconds at which the video was sampled, to the microsecond, however they were asked for.
    end_s: where the sampled range ends, in seconds.
    chunk_frames: frames of the first chunks one by one; the last number holds for all that follow.
    """

    content: str
    times_s: tuple[float, ...]
    end_s: float
    chunk_frames: tuple[int, ...]

    @property
    def sampling(self) -> dict[str, Any]:
        """How many frames were sampled, from when to when, and how many a second, as plain data."""
        frames, start_s = len(self.times_s), self.times_s[0]
        span_s = self.times_s[-1] - start_s
        fps = round((frames - 1) / span_s, 4) if span_s else None
        return {"frames": frames, "start_s": start_s, "end_s": self.end_s, "fps": fps}


@dataclass(frozen=True)
class ChunkPlace:
    """Where a chunk stands in its video, for what a model writes around its frames.

    first_frame: sampled frames before the chunk. next_position: the position that follows all that stands before it.
    is_last: whether the video ends with it.
    """

    video: VideoOutline
    first_frame: int
    next_position: int
    is_last: bool


@dataclass(frozen=True)
class VideoTokens:
    """One chunk as it enters the decoder: visual tokens, and the text that the model writes among them.

    embeddings: (n, hidden). positions: (n,), or (3, n) for M-RoPE. is_text: bool (n,): time stamps, separators; they
    are never compressed. frame: long (n,): which of the chunk's frames a token belongs to, ascending; frames that are
    encoded together count as one. deepstack: (layers, n, hidden), added to the states behind the first layers, 0
    where a token has none.
    """

    embeddings: Tensor
    positions: Tensor
    is_text: Tensor
    frame: Tensor
    deepstack: Tensor | None = None

    @classmethod
    def of_frames(cls, embeddings: Tensor, first_position: int) -> VideoTokens:
        """Frames' visual tokens (T, tokens per frame, hidden) without any text, at contiguous positions."""
        frames, each = embeddings.shape[:2]
        device = embeddings.device
        return cls(
            embeddings.flatten(0, 1),
            torch.arange(first_position, first_position + frames * each, device=device),
            torch.zeros(frames * each, dtype=torch.bool, device=device),
            torch.arange(frames, device=device).repeat_interleave(each),
        )

    @classmethod
    def of_text(cls, embeddings: Tensor, positions: Tensor) -> VideoTokens:
        """Text alone: embeddings (n, hidden) at positions (n,) or (3, n)."""
        frame = torch.zeros(len(embeddings), dtype=torch.long, device=embeddings.device)
        return cls(embeddings, positions, torch.ones_like(frame, dtype=torch.bool), frame)

    @classmethod
    def of_mask(cls, is_text: Tensor) -> VideoTokens:
        """Tokens of which no more is known than which are text, bool (n,): to count with."""
        count = torch.arange(len(is_text))
        return cls(torch.empty(len(is_text), 0), count, is_text, torch.zeros_like(count))

    def __len__(self) -> int:
        return self.embeddings.shape[0]

    @property
    def visual(self) -> Tensor:
        """The visual tokens' embeddings alone, (visual tokens, hidden)."""
        return self.embeddings[~self.is_text]

    @property
    def is_inner_text(self) -> Tensor:
        """Which tokens are text that stands between visual tokens, bool (n,).

        What stands before the first visual token, as the time of the first frame, and behind the last one is not.
        """
        visual = (~self.is_text).nonzero()[:, 0]
        steps = torch.arange(len(self), device=self.is_text.device)
        return self.is_text & (steps > visual.min()) & (steps < visual.max())

    def take(self, kept: Tensor) -> VideoTokens:
        """The tokens with these indices, (kept,), ascending, at the positions they have."""
        return VideoTokens(
            self.embeddings[kept],
            self.positions[..., kept],
            self.is_text[kept],
            self.frame[kept],
            None if self.deepstack is None else self.deepstack[:, kept],
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> VideoTokens:
        """The same tokens on another device."""
        return VideoTokens(
            self.embeddings.to(device, non_blocking=non_blocking),
            self.positions.to(device),
            self.is_text.to(device),
            self.frame.to(device),
            None if self.deepstack is None else self.deepstack.to(device, non_blocking=non_blocking),
        )


@dataclass(frozen=True)
class KV:
    """Keys and values of n tokens in every layer, keys **before** RoPE.

    keys, values: shape (n_l, n_h, n, d_h): layers, KV heads, tokens, head size.
    positions: the tokens' positions in the whole video, shape (n,), or (3, n) for M-RoPE.
    """

    keys: Tensor
    values: Tensor
    positions: Tensor

    def __len__(self) -> int:
        return self.keys.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes held by keys and values."""
        return self.keys.nbytes + self.values.nbytes

    def take(self, kept: Tensor) -> KV:
        """The KVs of the tokens with these indices, (kept,), in the order given."""
        return KV(self.keys[:, :, kept], self.values[:, :, kept], self.positions[..., kept])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> KV:
        """The same KVs on another device."""
        return KV(
            self.keys.to(device, non_blocking=non_blocking),
            self.values.to(device, non_blocking=non_blocking),
            self.positions.to(device),
        )


def concatenate(parts: list[KV]) -> KV:
    """KVs of several token runs, joined along the token axis in the order given."""
    return KV(
        torch.cat([part.keys for part in parts], dim=2),
        torch.cat([part.values for part in parts], dim=2),
        torch.cat([part.positions for part in parts], dim=-1),
    )


ChunkKVs = Mapping[int, KV]
"""One chunk's KVs by level, a nominal compression ratio: {2: L-KVs, 32: H-KVs}."""


Positions = Literal["contiguous", "original"]
"""Where a video's tokens stand: numbered as if the model had seen no more than what is in its context and its cache
(0, 1, ..., or for M-RoPE its time without gaps), or where the whole video has them."""


@dataclass(frozen=True)
class FrameScores:
    """How relevant single frames are to a question.

    time_s: float64 (n,), ascending: when the frames are shown; of frames that are encoded together, the first.
    scores: (n,), higher is more relevant; comparable only within one question.
    match: (n,), the probability that a frame shows what was asked for, where the encoder was calibrated to say it.
    """

    time_s: Tensor
    scores: Tensor
    match: Tensor | None = None


@dataclass(frozen=True)
class Scores:
    """What an oracle says of a video and a question.

    chunks: relevance of each chunk, finite, (chunks,); higher is more relevant; comparable only within one question.
    frames: those of single frames, where the oracle scores them.
    named: the moments that the question itself names, by clear times or by the words of subtitles.
    subtitles: the name of those whose words had a part in the scores.
    """

    chunks: Tensor
    frames: FrameScores | None = None
    named: tuple[Moment, ...] = ()
    subtitles: str | None = None


@dataclass(frozen=True)
class Cue:
    """One subtitle: what is said, or written, and when.

    start_s, end_s: its span in seconds of the video, the end exclusive.
    text: in one line, without tags.
    """

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Moment:
    """A stretch of a video that an answer came from, or that a search found.

    start_s, end_s: its span in seconds, the end exclusive.
    peak_s: when its best frame is shown; None where only chunks were scored, or the question names the time.
    score: of the best frame, or of the chunk; None where nothing was scored, or the question names the time.
    confidence: from 0 to 1, how sure it is that this shows what was asked for: the encoder's own probability if it was
        calibrated, else how unlikely it is that chance alone lifts a frame so far above the others; of a subtitle, how
        much of what was asked for its words are. None where only chunks were scored.
    subtitle: the words it was found by; None where it was not found by subtitles.
    """

    start_s: float
    end_s: float
    peak_s: float | None = None
    score: float | None = None
    confidence: float | None = None
    subtitle: str | None = None


@dataclass(frozen=True)
class Selection:
    """A level for every chunk, and the relevance scores that led to it.

    levels: per chunk, in temporal order; NOTHING where the chunk is left out.
    scores: relevance per chunk, higher is more relevant; comparable only within one question. None where nothing was
        scored.
    moments: the chunks that were chosen to be read in full detail, the most relevant first, or in temporal order where
        nothing was scored.
    notes: what the user should know about how it came about.
    frames: relevance of single frames, where the oracle gives it.
    named: the moments that the question itself names, by clear times or by the words of subtitles.
    subtitles: the name of those whose words had a part in the scores.
    oracle: the name of what scored; None where nothing was scored.
    selector: the name and settings of what selected, as plain data.
    chosen_frames: of the chunks that are read only in part, the frames that are read, ascending, by the number of the
        chunk; a frame by its place in the chunk, and frames that are encoded together count as one. A chunk that is
        not among them is read whole. Only FRESH and level 1 can be read so.
    """

    levels: tuple[Level, ...]
    scores: tuple[float, ...] | None
    moments: tuple[int, ...]
    notes: tuple[str, ...] = ()
    frames: FrameScores | None = None
    named: tuple[Moment, ...] = ()
    subtitles: str | None = None
    oracle: str | None = None
    selector: Mapping[str, Any] = field(default_factory=dict)
    chosen_frames: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class ChunkReport:
    """What an answer says about one chunk.

    index: its place in the video, from 0.
    start_s, end_s: its time span in seconds.
    score: its relevance to the question; None where nothing was scored.
    level: the level it was read at; NOTHING where it was left out.
    ratio: its real compression ratio, raw tokens for each one that was read; None where none was.
    is_chosen: whether the selector chose it to be read in full detail; the first and last chunk are read so anyway.
    frames_s: when the frames that were read are shown, in seconds, where they are not all of its frames; else None.
    """

    index: int
    start_s: float
    end_s: float
    score: float | None
    level: Level
    ratio: float | None
    is_chosen: bool
    frames_s: tuple[float, ...] | None = None
