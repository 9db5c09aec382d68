"""Options that several commands share, as dataclasses that turn them into settings.

Nothing here imports torch at first, so that `videox2l --help` is instant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videox2l.checks import check_path, check_video_path
from videox2l.cli import completion
from videox2l.compression.registry import COMPRESSORS
from videox2l.errors import SettingsError, VideoError
from videox2l.levels import FRESH, Level, plain_level
from videox2l.oracles.registry import ENCODERS, ORACLES, make_oracle
from videox2l.registry import Registry
from videox2l.selection.registry import SELECTORS
from videox2l.times import parse_time
from videox2l.tracks.languages import LANGUAGES, known_language

if TYPE_CHECKING:
    from videox2l.answering.generation import Generation
    from videox2l.engine import VideoX2L
    from videox2l.selection.base import Selector
    from videox2l.video import Sampling, Video

MORE = "More options"
"""The second group of options in `--help`; the everyday ones are in the first."""


def everyday(*names: str, **settings: Any) -> Any:
    """An option of the first group. Its help says what the default is."""
    return typer.Option(*names, show_default=False, show_envvar=False, **settings)


def more(*names: str, **settings: Any) -> Any:
    """An option of the second group."""
    return everyday(*names, rich_help_panel=MORE, **settings)


def known(registry: Registry[Any]) -> Callable[[str | None], str | None]:
    """Refuses a name that a registry does not have, before anything slow is imported."""

    def check(value: str | None) -> str | None:
        for name in [] if value is None else value.split("+"):
            registry.check(name)
        return value

    return check


def some_questions(value: int) -> int:
    """Refuses a number of questions below 1."""
    if value < 1:
        raise SettingsError(f"--at-once {value} answers no question: pass 1 or more")
    return value


def path_for(option: str) -> Callable[[str], Path]:
    """Reads the path that an option is given; an empty one, which would be the current directory, is refused."""

    def read(text: str) -> Path:
        check_path(text, option, "the name of a file or folder")
        return Path(text)

    return read


def video_path(text: str) -> Path:
    """Reads the path of a video. Raises: VideoError if it can't be one."""
    check_video_path(text)
    return Path(text)


def language(name: str | None) -> str | None:
    """Reads the name of a language as its code. Raises: SettingsError if there is none of that name."""
    return None if name is None else known_language(name)


def check_subtitles(file: Path | None, no_subtitles: bool) -> None:
    """Refuse a file that holds no subtitles before anything slow, or one that is not to be read.

    Raises: SettingsError.
    """
    if file is None:
        return
    if no_subtitles:
        raise SettingsError("--subtitles and --no-subtitles contradict each other: leave one of them out")
    from videox2l.tracks.subtitles import check_subtitle_file

    check_subtitle_file(file)


Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout, one object per line.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show more details: timings, levels, tokens.")]
AtOnce = Annotated[
    int,
    more(
        metavar="N",
        callback=some_questions,
        help="Answer up to N questions at once; 1 takes least memory. Default: 8.",
    ),
]
NoSubtitles = Annotated[bool, more("--no-subtitles", help="Read no subtitles, neither beside the video nor in it.")]
SubtitleLanguage = Annotated[
    str | None,
    more(
        metavar="NAME",
        callback=language,
        autocompletion=completion.one_of(*LANGUAGES),
        help="Which subtitles to read where there are several, for example en. Default: the first in the question's "
        "script.",
    ),
]
SubtitleFile = Annotated[
    Path | None,
    more(
        metavar="FILE",
        parser=path_for("--subtitles"),
        help="Read these subtitles (.srt, .vtt or .ass) and no others. Default: those named like the video, and those "
        "in it.",
    ),
]
VideoArgument = Annotated[
    Path,
    typer.Argument(metavar="VIDEO", parser=video_path, show_default=False, help="A video file, or a folder of images."),
]


@dataclass(frozen=True)
class SamplingOptions:
    """Which frames of the video are looked at."""

    start: Annotated[str | None, everyday(metavar="TIME", help="Skip everything before this time (1:30 or 90s).")] = (
        None
    )
    end: Annotated[str | None, everyday(metavar="TIME", help="Skip everything after this time.")] = None
    fps: Annotated[float | None, everyday(metavar="N", help="Look at N frames per second. Default: 1.")] = None
    frames: Annotated[int | None, more(metavar="N", help="Look at N frames, evenly spaced.")] = None
    max_frames: Annotated[int | None, more(metavar="N", help="Look at no more than N frames.")] = None

    def sampling(self) -> Sampling:
        """The sampling these options ask for. Raises: SettingsError."""
        from videox2l.video import Sampling

        start_s = None if self.start is None else parse_time(self.start)
        end_s = None if self.end is None else parse_time(self.end)
        return Sampling(self.frames, self.fps, self.max_frames, start_s, end_s)

    def open(self, path: Path) -> Video:
        """The video with the frames these options ask for; no frame is decoded yet.

        Raises: VideoError if it can't be read, or has nothing in the range; SettingsError.
        """
        if not path.exists():  # said at once: what opens videos takes a second to import
            raise VideoError(f"{path} does not exist: give the path of a video or image folder")
        from videox2l.video import open_video

        sampling = self.sampling()
        try:
            return open_video(path, sampling)
        except VideoError as error:
            said = f"start_s={sampling.start_s or 0:g} "
            raise VideoError(str(error).replace(said, f"--start {self.start} ")) from None


@dataclass(frozen=True)
class ModelOptions:
    """The model, and where what is made of videos is kept."""

    model: Annotated[
        str | None,
        everyday(
            metavar="NAME",
            envvar="VIDEOX2L_MODEL",
            autocompletion=completion.models,
            help="Hugging Face hub id or directory of a model, or nano or nano-qwen (bundled). Default: "
            "$VIDEOX2L_MODEL, or nano.",
        ),
    ] = None
    encoder: Annotated[
        str | None,
        everyday(
            metavar="NAME",
            autocompletion=completion.encoders,
            help="CLIP or SigLIP model that finds the relevant moments: a directory, or a hub id such as "
            f"{ENCODERS[0]} or {ENCODERS[1]}. The video is not indexed anew for it.",
        ),
    ] = None
    store: Annotated[
        str,
        more(
            metavar="PLACE",
            autocompletion=completion.stores,
            help="Where indexes are kept: disk (default; the user's cache directory), ram, or a directory.",
        ),
    ] = "disk"
    device: Annotated[
        str,
        more(
            metavar="NAME",
            autocompletion=completion.one_of("auto", "cpu", "cuda"),
            help="Where the model runs: auto (default), cpu, cuda, cuda:1 ...",
        ),
    ] = "auto"
    dtype: Annotated[
        str,
        more(
            metavar="NAME",
            autocompletion=completion.one_of("auto", "float32", "bfloat16", "float16"),
            help="Number format of the model: auto (default), float32, bfloat16 or float16.",
        ),
    ] = "auto"
    max_pixels: Annotated[
        int | None,
        more(
            metavar="N",
            help="Largest frame in pixels, for models that resize frames (Qwen). Default: 256 visual tokens per frame; "
            "0 uses the checkpoint's own limit.",
        ),
    ] = None


@dataclass(frozen=True)
class IndexOptions(ModelOptions):
    """The model, and how it compresses."""

    levels: Annotated[
        str | None,
        more(
            metavar="LIST",
            help="What to keep of each chunk, finest first: fresh (what enters the decoder, prefilled anew when it is "
            "read) and compression ratios. Default: 2,32, or 1,4 for group_pooling.",
        ),
    ] = None
    compressor: Annotated[
        str | None,
        more(
            metavar="NAME",
            callback=known(COMPRESSORS),
            autocompletion=completion.compressors,
            help="How the KV cache is compressed: summary_tokens, group_pooling, pool, uniform, random, keydiff, "
            "value_norm, temporal_redundancy, combination, attention, merge, or fresh (no KVs are kept). Default: the "
            "way the model was published with, else keydiff.",
        ),
    ] = None
    context: Annotated[
        str | None,
        more(
            metavar="NAME",
            autocompletion=completion.one_of("compressed", "window:", "full", "none"),
            help="What each chunk sees of earlier chunks: compressed (default), window:N, full or none. Not for "
            "summary_tokens.",
        ),
    ] = None
    passes: Annotated[
        str,
        more(
            metavar="NAME",
            autocompletion=completion.one_of("single_pass", "two_pass"),
            help="How summary_tokens makes its levels: single_pass (default), or two_pass as published.",
        ),
    ] = "single_pass"
    chunk_frames: Annotated[
        str | None,
        more(
            metavar="N",
            help="Frames per chunk; 2,10 makes the first chunk shorter. Default: the model's own, usually 10.",
        ),
    ] = None
    positions: Annotated[
        str | None,
        more(
            metavar="NAME",
            autocompletion=completion.one_of("contiguous", "original"),
            help="How tokens are numbered: contiguous, or original (as in the whole video). Default: the model's own.",
        ),
    ] = None
    one_time_from: Annotated[
        int | None,
        more(
            metavar="N",
            help="From this compression ratio on, keep only the first of the times that are written among a chunk's "
            "frames. Default: 8; 0 keeps all. Not for summary_tokens and group_pooling.",
        ),
    ] = None
    fine_edges: Annotated[
        bool, more("--fine-edges", help="Read the first and last chunk in full detail. Default, except with one_level.")
    ] = False
    no_fine_edges: Annotated[
        bool, more("--no-fine-edges", help="Read the first and last chunk in full detail only if they are chosen.")
    ] = False

    def engine(self) -> VideoX2L:
        """Load the model with these settings, to index videos; what can be refused before that is.

        Raises: SettingsError, ModelError, StoreError.
        """
        return self._load({"selector": "one_level"})  # it reads any level

    def _load(self, settings: dict[str, Any]) -> VideoX2L:
        from videox2l.engine import VideoX2L

        compression = self._compression()
        chunk_frames = None if self.chunk_frames is None else numbers(self.chunk_frames, "--chunk-frames", "10 or 2,10")
        return VideoX2L.from_pretrained(
            "nano" if self.model is None else self.model,
            device=self.device,
            dtype=self.dtype,
            max_pixels=self.max_pixels,
            encoder=self.encoder,
            store=self.store,
            compressor=self.compressor,
            compression=compression,
            chunk_frames=chunk_frames[0] if chunk_frames and len(chunk_frames) == 1 else chunk_frames,
            **settings,
        )

    @property
    def edges(self) -> bool | None:
        """Whether the first and last chunk are read in full detail; None leaves it to the selector."""
        if self.fine_edges and self.no_fine_edges:
            raise SettingsError("--fine-edges and --no-fine-edges contradict each other: leave one of them out")
        return True if self.fine_edges else False if self.no_fine_edges else None

    def _compression(self) -> dict[str, Any]:
        """The compressor's settings. Raises: SettingsError, also for what no compressor takes."""
        compression: dict[str, Any] = {}
        if self.edges is False and self.passes == "two_pass":
            compression["edge_ratio"] = None
        if self.levels is not None:
            compression["levels"] = levels_of(self.levels)
        if self.passes != "single_pass":
            compression["passes"] = self.passes
        if self.context is not None:
            compression["context"] = self.context
        if self.positions is not None:
            compression["positions"] = self.positions
        if self.one_time_from is not None:
            compression["one_time_from"] = self.one_time_from or None
        if self.compressor is not None:
            COMPRESSORS.make(self.compressor, **compression)
        elif compression.get("levels") == (FRESH,):
            COMPRESSORS.make("fresh", **compression)
        else:  # the model's own is known once it is loaded; a value that these refuse no other takes
            for name in ("keydiff", "summary_tokens"):
                known = COMPRESSORS.settings(name)
                COMPRESSORS.make(name, **{each: value for each, value in compression.items() if each in known})
        return compression


@dataclass(frozen=True)
class EngineOptions(IndexOptions):
    """The model, and which chunks it reads in full detail."""

    k: Annotated[int | None, everyday(metavar="N", help="Chunks to read in full detail. Default: 3.")] = None
    oracle: Annotated[
        str | None,
        more(
            metavar="NAME",
            callback=known(ORACLES),
            autocompletion=completion.oracles,
            help="How chunks are scored: contrastive (default with an encoder), cascade (default without), probe, "
            "maxsim, attention, qk, time, subtitles, random or fusion; probe+contrastive fuses two.",
        ),
    ] = None
    no_times: Annotated[
        bool, more("--no-times", help="Choose chunks without regard to times in the question, such as 'at 1:23'.")
    ] = False
    no_subtitles: NoSubtitles = False
    subtitle_language: SubtitleLanguage = None
    subtitles_in_prompt: Annotated[
        bool, more("--subtitles-in-prompt", help="Let the model read the subtitles of the chosen moments as text.")
    ] = False
    smoothing: Annotated[
        float, more(metavar="N", help="Smooth scores over about N neighbouring chunks. Default: 0 (off).")
    ] = 0.0
    selector: Annotated[
        str | None,
        more(
            metavar="NAME",
            callback=known(SELECTORS),
            autocompletion=completion.selectors,
            help="How chunks are chosen: top_k (default), adaptive, manual, even or one_level; or frames instead of "
            "chunks: frames_uniform, frames_top_k, frames_aks, frames_bolt or frames_adaq.",
        ),
    ] = None
    moments: Annotated[
        str | None,
        more(
            metavar="LIST",
            help="Choose by hand: chunk numbers (3,5) or times (1:10-1:30, end exclusive).",
        ),
    ] = None
    cache_tokens: Annotated[
        int | None, more(metavar="N", help="Largest cache that an answer may take, in tokens of prompt and video.")
    ] = None
    cache_memory: Annotated[
        str | None, more(metavar="SIZE", help="The same in memory: 800MB, 2GB. The question and the answer add to it.")
    ] = None
    leave_out: Annotated[
        bool, more("--leave-out", help="Read nothing of the chunks that are not chosen. Default: their coarsest level.")
    ] = False
    second_look: Annotated[
        bool,
        more("--second-look", help="If the model is unsure how to begin, read four times the detail and answer anew."),
    ] = False
    seed: Annotated[int, more(metavar="N", help="Random seed, for sampling and the random oracle. Default: 0.")] = 0

    def engine(self) -> VideoX2L:
        """Load the model with these settings; what can be refused before that is.

        Raises: SettingsError, ModelError, StoreError.
        """
        settings = {
            "oracle": self.oracle,
            "selector": self._selector(),
            "reads_times": not self.no_times,
            "reads_subtitles": not self.no_subtitles,
            "subtitle_language": self.subtitle_language,
            "subtitles_in_prompt": self.subtitles_in_prompt,
            "second_look": self.second_look,
        }
        if self.no_subtitles and self.subtitles_in_prompt:
            raise SettingsError("--subtitles-in-prompt and --no-subtitles contradict each other: leave one of them out")
        make_oracle("random", smoothing=self.smoothing)
        engine = self._load(settings)
        named = make_oracle(engine.oracle, encoder=engine.encoder)
        asked = make_oracle(engine.oracle, encoder=engine.encoder, seed=self.seed, smoothing=self.smoothing)
        return engine if asked == named else replace(engine, oracle=asked)

    def _selector(self) -> Selector:
        """The selector asked for, by its name or by an option that only it has.

        Raises: SettingsError for an option that the selector has no use for.
        """
        from videox2l.selection.manual import Manual

        if self.selector is not None:
            name, because = self.selector, f"--selector {self.selector}"
        elif self.moments is not None:
            name, because = "manual", "--moments"
        elif self.cache_tokens is not None:
            name, because = "adaptive", "--cache-tokens"
        elif self.cache_memory is not None:
            name, because = "adaptive", "--cache-memory"
        else:
            name, because = "top_k", "top_k, the default selector"
        known, needs_scores = SELECTORS.settings(name), SELECTORS[name].needs_scores
        for option, value, is_used in (
            ("--k", self.k, "k" in known),
            ("--cache-tokens", self.cache_tokens, "cache_tokens" in known),
            ("--cache-memory", self.cache_memory, "cache_bytes" in known),
            ("--moments", self.moments, name == "manual"),
            ("--oracle", self.oracle, needs_scores),
            ("--smoothing", self.smoothing or None, needs_scores),
            ("--leave-out", "" if self.leave_out else None, "leaves_out" in known),
            ("--second-look", "" if self.second_look else None, needs_scores),
        ):
            if value is not None and not is_used:
                said = f"{option} {value}".strip()
                raise SettingsError(f"{said} means nothing to {because}: leave one of them out")
        settings: dict[str, Any] = {
            "k": self.k,
            "cache_tokens": self.cache_tokens,
            "cache_bytes": None if self.cache_memory is None else size(self.cache_memory, "--cache-memory"),
            "fine_edges": self.edges,
            "leaves_out": True if self.leave_out else None,
        }
        settings = {setting: value for setting, value in settings.items() if value is not None}
        return Manual.parse(self.moments or "", **settings) if name == "manual" else SELECTORS.make(name, **settings)


@dataclass(frozen=True)
class GenerationOptions:
    """How the answer is decoded."""

    max_new_tokens: Annotated[int, everyday(metavar="N", help="Longest answer, in tokens. Default: 64.")] = 64
    temperature: Annotated[
        str,
        more(
            metavar="N",
            help="0 (default) always takes the likeliest token; higher is more random; own uses the checkpoint's "
            "setting.",
        ),
    ] = "0"
    top_p: Annotated[
        float | None, more(metavar="N", help="Sample from the likeliest tokens whose probabilities add up to N.")
    ] = None
    top_k: Annotated[int | None, more(metavar="N", help="Sample from the N likeliest tokens; 0 means all of them.")] = (
        None
    )
    repetition_penalty: Annotated[
        float | None, more(metavar="N", help="Values above 1 discourage repetition. Default: the checkpoint's own.")
    ] = None

    def generation(self, seed: int) -> Generation:
        """The generation settings these options ask for. Raises: SettingsError."""
        from videox2l.answering.generation import Generation

        try:
            temperature = None if self.temperature == "own" else float(self.temperature)
        except ValueError as error:
            raise SettingsError(f"--temperature {self.temperature!r} is not a number: pass 0, 0.7 or own") from error
        return Generation(
            self.max_new_tokens,
            temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            seed=seed,
        )


def levels_of(text: str) -> tuple[Level, ...]:
    """Levels as --levels has them. Raises: SettingsError."""
    name = str(plain_level(FRESH))
    first, comma, ratios = text.partition(",")
    if first != name:
        return numbers(text, "--levels", "2,32 or fresh,32")
    return (FRESH, *numbers(ratios, f"--levels {name},", "fresh,32")) if comma else (FRESH,)


def size(text: str, option: str) -> int:
    """Bytes, as an option has them: "800MB", "1.5 GiB", "4096". Raises: SettingsError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", text.upper())
    if match is None or float(match[1]) == 0:
        raise SettingsError(f"{option} {text!r} is not a size: write for example 800MB or 2GB")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2] or " "))


def numbers(text: str, option: str, example: str) -> tuple[int, ...]:
    """Whole numbers from 1 on, separated by commas, as an option has them. Raises: SettingsError."""
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = (0,)
    if min(found) < 1:
        raise SettingsError(f"{option} {text!r} is not a list of whole numbers above 0: write for example {example}")
    return found
