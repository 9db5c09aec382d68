"""Commands around needle videos: the demonstration, and making a data set."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from videox2l.cli.options import Json, path_for
from videox2l.cli.output import print_json
from videox2l.cli.progress import interruptible, progress

Out = Annotated[Path, typer.Option(metavar="DIR", parser=path_for("--out"), help="Directory to write to.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Random seed of the videos and their questions.")]
Haystack = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Video to lay the needles over; repeat it, and they are used in turn."),
]
Size = Annotated[str, typer.Option(metavar="WxH", help="Width x height of the videos, in pixels.")]
Rate = Annotated[float, typer.Option("--video-fps", metavar="N", help="Frame rate of the videos, in frames a second.")]


def demo(
    out: Out = Path("videox2l-demo"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Make a needle video, index it with the bundled model, and ask one question of each kind that it learned."""
    from videox2l.engine import VideoX2L
    from videox2l.evaluation.demo import NOT_LEARNED, REPORT, TIMELINE, VIDEO, DemoSettings, demo_table, run_demo

    engine = VideoX2L.from_pretrained("nano", store="disk")
    shown = run_demo(engine, out, DemoSettings(seed), progress=lambda line: typer.echo(line, err=True))
    if as_json:
        print_json(shown.to_json())
        return
    typer.echo()
    Console().print(demo_table(shown))
    typer.echo(f"\n{shown.score}.")
    if NOT_LEARNED:
        typer.echo(textwrap.fill(f"Not learned, so not asked: {', '.join(NOT_LEARNED.values())}.", 80))
    typer.echo(f"Beside the video: {TIMELINE}, where the first answer came from, and {REPORT}.")
    if shown.another_question:
        asks_nano = ["--model", "nano"] if os.environ.get("VIDEOX2L_MODEL") else []
        command = [*called_as(), "ask", str(out / VIDEO), shown.another_question, *asks_nano]
        typer.echo(f"Ask it more:\n  {shlex.join(command)}")


def called_as() -> list[str]:
    """The words by which this program was called, so that a command that begins with them runs as it is printed."""
    script = sys.argv[0]
    if os.path.basename(script) == "__main__.py":
        return [sys.orig_argv[0], "-m", "videox2l"]
    from_here = os.path.relpath(script)
    if os.path.isabs(script) and not from_here.startswith(os.pardir):
        script = (
            from_here if os.sep in from_here else os.path.join(os.curdir, from_here)
        )  # else it is looked up in PATH
    return [script]


def synth(
    out: Out,
    videos: Annotated[int, typer.Option(metavar="N", help="Number of videos.")] = 10,
    minutes: Annotated[float, typer.Option(metavar="N", help="Length of each video, in minutes.")] = 1.0,
    seed: Seed = 0,
    questions: Annotated[int, typer.Option(metavar="N", help="Questions of each task about each video.")] = 1,
    size: Size = "320x240",
    video_fps: Rate = 8.0,
    haystack: Haystack = None,
    as_json: Json = False,
) -> None:
    """Write needle videos and questions.jsonl in VNBench's fields; continues where it stopped."""
    from videox2l.synthesis.dataset import SynthesisProgress, synthesise
    from videox2l.synthesis.plan import NeedleSettings
    from videox2l.synthesis.writer import VideoFormat

    width, height = parse_size(size)
    settings = NeedleSettings(
        minutes, seed, VideoFormat(video_fps, width, height), haystacks=tuple(haystack or ()), questions=questions
    )
    kept = "finished videos are kept, the same command continues from there"
    with interruptible(kept), progress("writing", "videos") as show:

        def tell(done: SynthesisProgress) -> None:
            show(done.videos + done.frames / max(done.total_frames, 1), videos, "")

        report = synthesise(out, videos, settings, tell)
    for note in report.notes:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        counts = {"made": report.made, "kept": report.kept, "questions": report.questions}
        print_json({"directory": str(out), **counts})
        return
    file = out / "questions.jsonl"
    typer.echo(f"{report.made} videos made, {report.kept} kept, {report.questions} questions in {file}")


def wide_console(columns: int) -> Console:
    """A console for stdout; what is not a terminal has as many columns as a table wants."""
    console = Console()
    return console if console.is_terminal else Console(width=columns)


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of "320x240". Raises: SettingsError."""
    from videox2l.errors import SettingsError

    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit()):
        raise SettingsError(f"--size {text!r} is not a size: write for example 320x240")
    return int(width), int(height)


def progress_bar(of: str) -> Progress:
    """A progress bar on stderr, shown to a person only."""
    console = Console(stderr=True)
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(of),
        TimeRemainingColumn(),
    ]
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
