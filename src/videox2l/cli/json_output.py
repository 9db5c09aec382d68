"""What `--json` prints, field by field: the reference on the command line page is made of this.

A command that fails prints an object with `error`, its one sentence; a question that can't be asked one with `question`
and `error`; a line of `chat` that can't be done one with `text` and `error`.
"""

from __future__ import annotations

from typing import Any, TypedDict


class MomentJson(TypedDict):
    """A stretch of the video that the answer came from.

    start_s: where it begins, in seconds.
    end_s: where it ends, exclusive.
    peak_s: when its best frame is shown; null where only chunks were scored, or the question names the time.
    score: relevance of that frame, or of the chunk; null where nothing was scored, or the question names the time.
    confidence: from 0 to 1, how sure it is that this shows what was asked for; null where nothing can tell.
    subtitle: the words it was found by; null where it was not found by subtitles.
    """

    start_s: float
    end_s: float
    peak_s: float | None
    score: float | None
    confidence: float | None
    subtitle: str | None


class CueJson(TypedDict):
    """A subtitle.

    start_s: from when it is shown, in seconds.
    end_s: until when, exclusive.
    text: what it says.
    """

    start_s: float
    end_s: float
    text: str


class ChunkJson(TypedDict):
    """How one chunk of the video was read.

    index: its place in the video, from 0.
    start_s: where it begins, in seconds.
    end_s: where it ends, exclusive.
    score: relevance to the question, comparable within one answer only; null where nothing was scored.
    level: the compression level it was read at; "fresh" if it was prefilled anew, "nothing" if it was left out.
    ratio: its real compression ratio, tokens before over tokens read; null where none is left.
    is_chosen: whether the selector chose it to be read in full detail.
    frames_s: when the frames that were read are shown, in seconds; null where all of the chunk was.
    """

    index: int
    start_s: float
    end_s: float
    score: float | None
    level: int | str
    ratio: float | None
    is_chosen: bool
    frames_s: list[float] | None


class SamplingJson(TypedDict):
    """Which frames were looked at.

    frames: how many.
    start_s: time of the first one, in seconds.
    end_s: where the sampled range ends.
    fps: frames a second; null for a single frame.
    """

    frames: int
    start_s: float
    end_s: float
    fps: float | None


class LookJson(TypedDict):
    """What `--second-look` cost, where a second look was taken.

    margin: by how much the likeliest first token of the answer was more probable than the next one at the first look.
    cache_tokens: tokens of prompt and video that were read for it.
    seconds: what loading them and reading the question took; `timings_s` has it too.
    """

    margin: float
    cache_tokens: int
    seconds: float


class AnswerJson(TypedDict):
    """One answer: `ask --json` and `chat --json` print one a line.

    question: what was asked.
    answer: the answer's text.
    moments: where in the video it came from, the best first, or the clear times or the subtitles that the question
        names; empty where nothing stands out.
    video: name of the video.
    duration_s: its length in seconds.
    sampling: which frames were looked at.
    oracle: what scored the chunks; null where nothing was scored.
    selector: name and settings of what chose each chunk's level.
    subtitles: the name of those whose words had a part in the scores; null where none had.
    cues: the subtitles that the model read before the question, in temporal order; empty without
        `--subtitles-in-prompt`.
    chunks: how every chunk was read, in temporal order.
    cache_tokens: tokens of prompt and video in the cache that the answer was decoded from.
    full_cache_tokens: the same without compression.
    first_look: what was read before, if the answer is a second look; else null.
    timings_s: seconds by stage; `prefill` is that of chunks read fresh.
    model: the model's name.
    index_reused: whether the store had the index already.
    notes: what the user should know.
    version: of videox2l.
    """

    question: str
    answer: str
    moments: list[MomentJson]
    video: str
    duration_s: float
    sampling: SamplingJson
    oracle: str | None
    selector: dict[str, Any]
    subtitles: str | None
    cues: list[CueJson]
    chunks: list[ChunkJson]
    cache_tokens: int
    full_cache_tokens: int
    first_look: LookJson | None
    timings_s: dict[str, float]
    model: str
    index_reused: bool
    notes: list[str]
    version: str


class ChatMomentsJson(TypedDict):
    """What `/moments` and `/find` print in `chat --json`.

    kind: "moments" or "find".
    text: the question that the moments belong to, or what was looked for.
    moments: the best first; empty where nothing stands out.
    """

    kind: str
    text: str
    moments: list[MomentJson]


class IndexJson(TypedDict):
    """What `index --json` prints.

    key: name of the index's directory in the store.
    chunks: how many chunks the video was cut into.
    frames: how many frames were looked at.
    video: name of the video.
    duration_s: its length in seconds.
    sampling: which frames were looked at.
    model: the model's name.
    levels: compression ratios, finest first; before them "fresh" if the tokens are kept too.
    tokens: tokens of a cache with every chunk at one level, by level.
    ratios: the real compression ratio at each level, tokens before over tokens kept; null where none is left.
    full_cache_tokens: the same without compression.
    decoder_tokens: tokens that the decoder runs for the video, by the number of passes.
    seconds: what indexing, or opening the stored index, took.
    index_reused: whether the store had the index already.
    subtitles: names of the subtitles that were found.
    notes: what the user should know of the video.
    version: of videox2l.
    """

    key: str
    chunks: int
    frames: int
    video: str
    duration_s: float
    sampling: SamplingJson
    model: str
    levels: list[int | str]
    tokens: dict[str, int]
    ratios: dict[str, float | None]
    full_cache_tokens: int
    decoder_tokens: dict[str, int]
    seconds: float
    index_reused: bool
    subtitles: list[str]
    notes: list[str]
    version: str


class ClipJson(TypedDict):
    """A moment that was cut out of the video.

    file: where it is.
    start_s: where it begins in the video, in seconds.
    end_s: where it ends, exclusive.
    is_copied: whether its packets were copied; else it was encoded anew.
    notes: what the user should know, such as a sound track that was left out.
    """

    file: str
    start_s: float
    end_s: float
    is_copied: bool
    notes: list[str]


class FindJson(TypedDict):
    """What `find --json` prints.

    text: what was looked for.
    moments: where it is shown or said, the best first; empty where nothing stands out.
    clips: the moments' files, in the same order; empty without `--clips`.
    video: name of the video.
    duration_s: its length in seconds.
    k: how many moments were asked for at most.
    notes: what the user should know.
    version: of videox2l.
    """

    text: str
    moments: list[MomentJson]
    clips: list[ClipJson]
    video: str
    duration_s: float
    k: int
    notes: list[str]
    version: str
