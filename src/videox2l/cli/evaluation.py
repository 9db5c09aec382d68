"""`videox2l eval`: measure a model on the user's own questions, or on needle videos."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videox2l.cli.help import Command, Group
from videox2l.cli.needles import Haystack, Rate, Size, parse_size, progress_bar, wide_console
from videox2l.cli.option_groups import with_options
from videox2l.cli.options import AtOnce, EngineOptions, Json, SamplingOptions, path_for
from videox2l.cli.output import print_json
from videox2l.errors import SettingsError
from videox2l.selection.registry import SELECTORS

if TYPE_CHECKING:
    from videox2l.engine import VideoX2L
    from videox2l.evaluation.evaluate import EvaluationProgress
    from videox2l.evaluation.result import EvaluationResult
    from videox2l.evaluation.settings import Setting

PAUSE_S = 30
"""Seconds between two lines of progress where nobody looks at a terminal."""


class FileByDefault(Group):
    """A group in which `eval questions.jsonl` is short for `eval file questions.jsonl`."""

    default = "file"

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put the command there where it is left out."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


commands = typer.Typer(
    cls=FileByDefault,
    help="Measure a model on your own questions (videox2l eval questions.jsonl) or on needle videos.",
    no_args_is_help=True,
)

Only = Annotated[
    bool, typer.Option("--only", help="Measure these settings alone, without the ones they are compared with.")
]


FrameMethods = Annotated[
    str,
    typer.Option(
        "--frame-selection",
        metavar="LIST",
        help="Frames instead of chunks, to compare with at equal tokens, each prefilled anew and re-loaded: uniform, "
        "top_k, aks, bolt, adaq, or none.",
    ),
]


@commands.command("file", cls=Command)
@with_options(engine_options=EngineOptions, sampling_options=SamplingOptions)
def evaluate_file(
    questions: Annotated[
        Path,
        typer.Argument(metavar="QUESTIONS", parser=path_for("QUESTIONS"), help="A file with one JSON object per line."),
    ],
    engine_options: EngineOptions,
    sampling_options: SamplingOptions,
    options: Annotated[
        bool,
        typer.Option(
            "--options/--no-options", help="Show the model the options; without them it must give the answer's words."
        ),
    ] = True,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", help="Longest answer, in tokens.")] = 32,
    only: Only = False,
    at_once: AtOnce = 8,
    frame_selection: FrameMethods = "uniform,top_k",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_for("--out"),
            help="File for the answers; the same command continues from those that are in it. Default: "
            "QUESTIONS.results.jsonl, beside the questions.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure on your own questions about your own videos, with 95% intervals. The word "file" may be left out.

    Each line of the file is a JSON object with the fields `video` (a path, relative to the file), `question` and
    `answer`. `options`, a list of texts, makes it multiple choice; `answer` is then the text, the letter or the place
    (from 0) of the right one. `task`, if you give it, names the group that the question is counted in, and `times`, a
    list of seconds, says when the video shows the answer.

    A multiple-choice answer is read by the option's letter or text. Any other is right if its words are those of
    `answer`.

    The same questions are asked with your settings and with what these must beat: the finest and the coarsest level
    everywhere, the other oracles (a random one among them), evenly spaced chunks, one level for all chunks in a cache
    of equal size, frames instead of chunks at equal tokens, two passes where a compressor supports them, and no
    compression. Indexes stay in --store.
    """
    from videox2l.evaluation.answers_file import AnswersFile
    from videox2l.evaluation.questions_file import read_questions

    frames = frame_methods(frame_selection)
    asked = read_questions(questions, options)
    kept = AnswersFile(out or questions.with_suffix(".results.jsonl"))
    sampling = sampling_options.sampling()

    from videox2l.answering.generation import Generation
    from videox2l.evaluation.evaluate import evaluate

    generation = Generation(max_new_tokens)
    engine = engine_options.engine()
    settings = compared(engine, only, frames)

    def measure(progress: Callable[[EvaluationProgress], None]) -> EvaluationResult:
        return evaluate(
            engine,
            asked,
            settings,
            sampling=sampling,
            generation=generation,
            kept=kept,
            at_once=at_once,
            progress=progress,
        )

    show_result(measure, kept.path, as_json)


@commands.command("needles", cls=Command)
@with_options(engine_options=EngineOptions, sampling_options=SamplingOptions)
def evaluate_needle_videos(
    engine_options: EngineOptions,
    sampling_options: SamplingOptions,
    videos: Annotated[int, typer.Option(metavar="N", help="Number of videos.")] = 60,
    questions: Annotated[int, typer.Option(metavar="N", help="Questions of each task about each video.")] = 5,
    minutes: Annotated[
        float,
        typer.Option(metavar="N", show_default=False, help="Length of each video, in minutes. Default: 100 seconds."),
    ] = 100 / 60,
    size: Size = "160x160",
    video_fps: Rate = 2.0,
    haystack: Haystack = None,
    turns: Annotated[
        int, typer.Option(metavar="N", help="Questions in a conversation; its earlier turns stay in the context.")
    ] = 1,
    only: Only = False,
    at_once: AtOnce = 8,
    frame_selection: FrameMethods = "uniform,top_k",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_for("--out"),
            help="File for the answers; the same command continues from those that are in it. Default: none.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure on fresh needle videos, read back from mp4: exact match by task, with 95% intervals.

    The same questions are asked with your settings and with what these must beat: the finest and the coarsest level
    everywhere, the other oracles (a random one among them), evenly spaced chunks, one level for all chunks in a cache
    of equal size, frames instead of chunks at equal tokens, two passes, and no compression.
    """
    from videox2l.evaluation.answers_file import AnswersFile
    from videox2l.evaluation.needles import NeedleEvaluation, evaluate_needles
    from videox2l.synthesis.plan import NeedleSettings
    from videox2l.synthesis.writer import VideoFormat

    frames = frame_methods(frame_selection)
    width, height = parse_size(size)
    needles = NeedleSettings(
        minutes,
        engine_options.seed,
        VideoFormat(video_fps, width, height),
        haystacks=tuple(haystack or ()),
        questions=questions,
    )
    what = NeedleEvaluation(videos, needles, sampling_options.sampling(), turns)
    kept = None if out is None else AnswersFile(out)
    engine = engine_options.engine()
    settings = compared(engine, only, frames)
    show_result(lambda progress: evaluate_needles(engine, settings, what, progress, kept, at_once), out, as_json)


def frame_methods(text: str) -> tuple[str, ...]:
    """The methods that --frame-selection names. Raises: SettingsError."""
    methods = () if text == "none" else tuple(text.split(","))
    known = [name.removeprefix("frames_") for name in SELECTORS.names if name.startswith("frames_")]
    if unknown := [method for method in methods if method not in known]:
        raise SettingsError(f"--frame-selection {unknown[0]!r} is unknown: pass some of {','.join(known)}, or none")
    return methods


def compared(engine: VideoX2L, only: bool, frames: tuple[str, ...]) -> tuple[Setting, ...]:
    """An engine's setting, alone or among those it is compared with."""
    from videox2l.evaluation.settings import Setting, comparison

    method = Setting.of(engine)
    return (method,) if only else comparison(method, engine.encoder is not None, frames)


def show_result(
    measure: Callable[[Callable[[EvaluationProgress], None]], EvaluationResult], out: Path | None, as_json: bool
) -> None:
    """Run an evaluation with its progress on stderr, and print what it found."""
    from videox2l.evaluation.table import evaluation_table

    said_at = time.monotonic()
    with progress_bar("answers") as bar:
        task = bar.add_task("", total=None)

        def show(done: EvaluationProgress) -> None:
            nonlocal said_at
            doing = f"indexing {done.frames}/{done.total_frames} frames" if done.total_frames else ""
            place = f"video {done.video + 1} of {done.videos}"
            bar.update(task, description=f"{place} {doing}", completed=done.answers, total=done.total_answers)
            if bar.disable and time.monotonic() - said_at > PAUSE_S:
                typer.echo(f"{place}, {done.answers} of {done.total_answers} answers", err=True)
                said_at = time.monotonic()

        try:
            result = measure(show)
        except KeyboardInterrupt:
            bar.stop()
            kept = f"finished answers are kept in {out}" if out else "nothing is kept without --out"
            typer.echo(f"interrupted: {kept}" + ", the same command continues from there" * bool(out), err=True)
            raise typer.Exit(130) from None
    if as_json:
        print_json(result.to_json())
        return
    wide_console(150).print(evaluation_table(result))
    if out is not None:
        typer.echo(f"every answer is in {out}")
