"""Options that several commands share, as dataclasses, and the decorator that gives them to a command.

Nothing here imports torch, so that `videox2l --help` is instant.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from videox2l.errors import SettingsError
from videox2l.times import parse_time

if TYPE_CHECKING:
    from videox2l.answering.generation import Generation
    from videox2l.engine import VideoX2L
    from videox2l.selection.base import Selector
    from videox2l.video import Sampling

MODEL, VIDEO, SPEED, ANSWER = "Model", "Frames", "Compression and store", "Answer"


@dataclass(frozen=True)
class SamplingOptions:
    """Which frames of the video are looked at."""

    frames: Annotated[int | None, typer.Option(help="Look at N frames, uniformly.", rich_help_panel=VIDEO)] = None
    fps: Annotated[
        float | None, typer.Option(help="Look at so many frames a second.", show_default="1", rich_help_panel=VIDEO)
    ] = None
    max_frames: Annotated[int | None, typer.Option(help="But never at more than N.", rich_help_panel=VIDEO)] = None
    start: Annotated[str | None, typer.Option(help="From this time on: 1:30 or 90s.", rich_help_panel=VIDEO)] = None
    end: Annotated[str | None, typer.Option(help="Up to this time.", rich_help_panel=VIDEO)] = None

    def sampling(self) -> Sampling:
        """The sampling these options ask for."""
        from videox2l.video import Sampling

        start_s = None if self.start is None else parse_time(self.start)
        end_s = None if self.end is None else parse_time(self.end)
        return Sampling(self.frames, self.fps, self.max_frames, start_s, end_s)


@dataclass(frozen=True)
class EngineOptions:
    """The model, how it compresses, and where indexes are kept."""

    model: Annotated[
        str | None,
        typer.Option(
            envvar="VIDEOX2L_MODEL",
            help="Hub id or directory of a checkpoint, or nano, the bundled demonstration model.",
            show_default="nano",
            rich_help_panel=MODEL,
        ),
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...", rich_help_panel=MODEL)] = "auto"
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=MODEL)] = "auto"
    max_pixels: Annotated[
        int | None,
        typer.Option(
            help="Pixels of a frame at most, for models that resize frames (Qwen's); 0 is the checkpoint's own limit.",
            show_default="256 visual tokens' worth",
            rich_help_panel=MODEL,
        ),
    ] = None
    levels: Annotated[
        str | None,
        typer.Option(
            help="Compression ratios, finest first.",
            show_default="2,32; 1,4 for group_pooling",
            rich_help_panel=SPEED,
        ),
    ] = None
    compressor: Annotated[
        str | None,
        typer.Option(
            help="summary_tokens, group_pooling, pool, uniform, random, keydiff, value_norm, temporal_redundancy, "
            "combination, attention or merge.",
            show_default="the way the model was published with, else keydiff",
            rich_help_panel=SPEED,
        ),
    ] = None
    context: Annotated[
        str | None,
        typer.Option(
            help="What a chunk sees of earlier ones where no summary tokens are: compressed, window:N, full or none.",
            show_default="compressed",
            rich_help_panel=SPEED,
        ),
    ] = None
    passes: Annotated[str, typer.Option(help="single_pass, or two_pass as published.", rich_help_panel=SPEED)] = (
        "single_pass"
    )
    chunk_frames: Annotated[
        str | None,
        typer.Option(
            help="Frames in a chunk; 2,10 makes the first one shorter.",
            show_default="10; 16 for Video-XL-2",
            rich_help_panel=SPEED,
        ),
    ] = None
    positions: Annotated[
        str | None,
        typer.Option(
            help="Where a chunk and what it sees stand while it is run, and in the cache: contiguous, or original, "
            "as in the whole video.",
            show_default="contiguous; original for Qwen2.5-VL",
            rich_help_panel=SPEED,
        ),
    ] = None
    store: Annotated[
        str,
        typer.Option(
            help="Where indexes are kept: disk (the cache directory), ram, or a directory.", rich_help_panel=SPEED
        ),
    ] = "disk"
    oracle: Annotated[
        str | None,
        typer.Option(
            help="What scores the chunks: attention, qk, contrastive, probe, fusion or random; attention+qk fuses two.",
            show_default="contrastive if there is an encoder, else attention",
            rich_help_panel=ANSWER,
        ),
    ] = None
    encoder: Annotated[
        str | None,
        typer.Option(help="CLIP or SigLIP for the contrastive oracle: hub id or directory.", rich_help_panel=ANSWER),
    ] = None
    smoothing: Annotated[
        float, typer.Option(help="Smooth scores over so many chunks around each.", rich_help_panel=ANSWER)
    ] = 0.0
    selector: Annotated[
        str | None,
        typer.Option(
            help="What chooses each chunk's level: top_k, budget, manual, even or one_level.",
            show_default="top_k",
            rich_help_panel=ANSWER,
        ),
    ] = None
    k: Annotated[
        int | None,
        typer.Option(
            help="For top_k and even: chunks to re-load in full detail.", show_default="3", rich_help_panel=ANSWER
        ),
    ] = None
    cache_tokens: Annotated[
        int | None,
        typer.Option(help="Choose by budget: the cache has at most so many tokens.", rich_help_panel=ANSWER),
    ] = None
    moments: Annotated[
        str | None,
        typer.Option(
            help="Choose by hand: chunk numbers (3,5) or times (1:10-1:30, the end exclusive).", rich_help_panel=ANSWER
        ),
    ] = None
    fine_edges: Annotated[
        bool | None,
        typer.Option(
            "--fine-edges/--no-fine-edges",
            help="Re-load the first and last chunk in full detail whatever is chosen.",
            show_default="fine-edges, but for one_level",
            rich_help_panel=ANSWER,
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="Of the random oracle and of sampling.", rich_help_panel=ANSWER)] = 0

    def engine(self) -> VideoX2L:
        """Load the model with these settings; says on stderr when it is the bundled one by default."""
        from videox2l.engine import VideoX2L
        from videox2l.oracles.registry import make_oracle

        if self.model is None:
            typer.echo(
                "Using nano, the bundled demonstration model: it knows needle videos only (`videox2l demo`). For real "
                "footage pass --model, as HuggingFaceTB/SmolVLM2-500M-Video-Instruct, Qwen/Qwen2.5-VL-3B-Instruct or "
                "Qwen/Qwen2.5-VL-7B-Instruct, by size.",
                err=True,
            )
        selector = self._selector()
        compression: dict[str, Any] = {}
        if self.fine_edges is False and self.passes == "two_pass":
            compression["edge_ratio"] = None
        if self.levels is not None:
            compression["levels"] = numbers(self.levels, "levels")
        if self.passes != "single_pass":
            compression["passes"] = self.passes
        if self.context is not None:
            compression["context"] = self.context
        if self.positions is not None:
            compression["positions"] = self.positions
        chunk_frames = None if self.chunk_frames is None else numbers(self.chunk_frames, "chunk-frames")
        engine = VideoX2L.from_pretrained(
            self.model or "nano",
            device=self.device,
            dtype=self.dtype,
            max_pixels=self.max_pixels,
            encoder=self.encoder,
            oracle=self.oracle,
            store=self.store,
            compressor=self.compressor,
            compression=compression,
            chunk_frames=chunk_frames[0] if chunk_frames and len(chunk_frames) == 1 else chunk_frames,
            selector=selector,
        )
        named = make_oracle(engine.oracle, encoder=engine.encoder)
        asked = make_oracle(engine.oracle, encoder=engine.encoder, seed=self.seed, smoothing=self.smoothing)
        return engine if asked == named else replace(engine, oracle=asked)

    def _selector(self) -> Selector:
        """The selector asked for, by its name or by an option that only it has.

        Raises: SettingsError for an option that the selector has no use for.
        """
        from videox2l.selection.manual import Manual
        from videox2l.selection.registry import SELECTORS

        if self.selector is not None:
            name, because = self.selector, f"--selector {self.selector}"
        elif self.moments is not None:
            name, because = "manual", "--moments"
        elif self.cache_tokens is not None:
            name, because = "budget", "--cache-tokens"
        else:
            name, because = "top_k", "top_k, the default selector"
        known, needs_scores = SELECTORS.settings(name), SELECTORS[name].needs_scores
        for option, value, is_used in (
            ("--k", self.k, "k" in known),
            ("--cache-tokens", self.cache_tokens, "cache_tokens" in known),
            ("--moments", self.moments, name == "manual"),
            ("--oracle", self.oracle, needs_scores),
            ("--smoothing", self.smoothing or None, needs_scores),
        ):
            if value is not None and not is_used:
                raise SettingsError(f"{option} {value} means nothing to {because}: leave one of them out")
        settings: dict[str, Any] = {"k": self.k, "cache_tokens": self.cache_tokens, "fine_edges": self.fine_edges}
        settings = {setting: value for setting, value in settings.items() if value is not None}
        return Manual.parse(self.moments or "", **settings) if name == "manual" else SELECTORS.make(name, **settings)


@dataclass(frozen=True)
class GenerationOptions:
    """How the answer is decoded."""

    max_new_tokens: Annotated[int, typer.Option(help="Longest answer.", rich_help_panel=ANSWER)] = 64
    temperature: Annotated[
        str, typer.Option(help="0 is greedy; own samples as the checkpoint says.", rich_help_panel=ANSWER)
    ] = "0"
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling.", show_default="1", rich_help_panel=ANSWER)] = (
        None
    )
    top_k: Annotated[
        int | None, typer.Option(help="Sample among so many; 0 is all.", show_default="0", rich_help_panel=ANSWER)
    ] = None
    repetition_penalty: Annotated[
        float | None,
        typer.Option(
            help="Above 1, what was said becomes less likely.",
            show_default="the checkpoint's own, else 1",
            rich_help_panel=ANSWER,
        ),
    ] = None

    def generation(self, seed: int) -> Generation:
        """The generation settings these options ask for."""
        from videox2l.answering.generation import Generation

        try:
            temperature = None if self.temperature == "own" else float(self.temperature)
        except ValueError as error:
            raise SettingsError(f"--temperature {self.temperature!r} is no number: pass 0, a number or own") from error
        return Generation(
            self.max_new_tokens,
            temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            seed=seed,
        )


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more of what it cost.")]
VideoArgument = Annotated[Path, typer.Argument(help="A video file, or a folder of images.")]


def numbers(text: str, name: str) -> tuple[int, ...]:
    """Whole numbers separated by commas. Raises: SettingsError."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(f"--{name} {text!r} is not a list of whole numbers: write for example 2,32") from error


def number(text: str, name: str) -> int:
    """One whole number. Raises: SettingsError."""
    try:
        return int(text)
    except ValueError as error:
        raise SettingsError(f"--{name} {text!r} is not a whole number: write for example 2") from error


def with_options(**groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of these dataclasses; it receives one instance of each under the keyword's name."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name not in groups
        ]
        shared = []
        for group in groups.values():
            types = get_type_hints(group, include_extras=True)
            for field in fields(group):
                default = inspect.Parameter.empty if field.default is MISSING else field.default
                shared.append(
                    inspect.Parameter(
                        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=types[field.name]
                    )
                )

        @functools.wraps(command)
        def run(**values: Any) -> None:
            for keyword, group in groups.items():
                values[keyword] = group(**{field.name: values.pop(field.name) for field in fields(group)})
            command(**values)

        keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        run.__signature__ = inspect.Signature([*keyword_only, *shared])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *shared]}
        return run

    return decorate
