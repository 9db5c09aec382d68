"""Options that several commands share, as dataclasses, and the decorator that gives them to a command.

Nothing here imports torch, so that `videox2l --help` is instant.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from videox2l.errors import SettingsError
from videox2l.times import parse_time

if TYPE_CHECKING:
    from videox2l.answering.generation import Generation
    from videox2l.engine import VideoX2L
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
    edge_ratio: Annotated[
        str | None,
        typer.Option(
            help="With two_pass, the ratio of the first and last chunk in every pass: a number, or none.",
            show_default="2",
            rich_help_panel=SPEED,
        ),
    ] = None
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
            help="What scores the chunks: attention, qk, contrastive, probe, fusion, random, uniform or manual; "
            "attention+qk fuses two.",
            show_default="contrastive if there is an encoder, else attention",
            rich_help_panel=ANSWER,
        ),
    ] = None
    encoder: Annotated[
        str | None,
        typer.Option(help="CLIP or SigLIP for the contrastive oracle: hub id or directory.", rich_help_panel=ANSWER),
    ] = None
    k: Annotated[int, typer.Option(help="Chunks to re-load in full detail.", rich_help_panel=ANSWER)] = 3
    moments: Annotated[
        str,
        typer.Option(help="For the manual oracle: chunk numbers (3,5) or times (1:10-1:30).", rich_help_panel=ANSWER),
    ] = ""
    smoothing: Annotated[
        float, typer.Option(help="Smooth scores over so many chunks around each.", rich_help_panel=ANSWER)
    ] = 0.0
    seed: Annotated[int, typer.Option(help="Of the random oracle and of sampling.", rich_help_panel=ANSWER)] = 0

    def engine(self) -> VideoX2L:
        """Load the model with these settings; says on stderr when it is the bundled one by default."""
        from videox2l.engine import VideoX2L

        if self.model is None:
            typer.echo(
                "Using nano, the bundled demonstration model: it knows needle videos only (`videox2l demo`). For real "
                "footage pass --model, as HuggingFaceTB/SmolVLM2-500M-Video-Instruct, Qwen/Qwen2.5-VL-3B-Instruct or "
                "Qwen/Qwen2.5-VL-7B-Instruct, by size.",
                err=True,
            )
        compression: dict[str, Any] = {}
        if self.edge_ratio is not None:
            compression["edge_ratio"] = None if self.edge_ratio == "none" else number(self.edge_ratio, "edge-ratio")
        if self.levels is not None:
            compression["levels"] = numbers(self.levels, "levels")
        if self.passes != "single_pass":
            compression["passes"] = self.passes
        if self.context is not None:
            compression["context"] = self.context
        if self.positions is not None:
            compression["positions"] = self.positions
        chunk_frames = None if self.chunk_frames is None else numbers(self.chunk_frames, "chunk-frames")
        return VideoX2L.from_pretrained(
            self.model or "nano",
            device=self.device,
            dtype=self.dtype,
            encoder=self.encoder,
            oracle=self.oracle,
            store=self.store,
            compressor=self.compressor,
            compression=compression,
            chunk_frames=chunk_frames[0] if chunk_frames and len(chunk_frames) == 1 else chunk_frames,
            k=self.k,
            moments=self.moments,
            seed=self.seed,
            smoothing=self.smoothing,
        )


@dataclass(frozen=True)
class GenerationOptions:
    """How the answer is decoded."""

    max_new_tokens: Annotated[int, typer.Option(help="Longest answer.", rich_help_panel=ANSWER)] = 64
    temperature: Annotated[float, typer.Option(help="0 is greedy.", rich_help_panel=ANSWER)] = 0.0
    top_p: Annotated[float, typer.Option(help="Nucleus sampling.", rich_help_panel=ANSWER)] = 1.0
    top_k: Annotated[int, typer.Option(help="Sample among so many; 0 is all.", rich_help_panel=ANSWER)] = 0

    def generation(self, seed: int) -> Generation:
        """The generation settings these options ask for."""
        from videox2l.answering.generation import Generation

        return Generation(self.max_new_tokens, self.temperature, self.top_k, self.top_p, seed=seed)


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
