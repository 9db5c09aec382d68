"""Progress on stderr: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from pathlib import Path

    from videox2l.engine import VideoX2L
    from videox2l.index.builder import IndexProgress
    from videox2l.index.video_index import VideoIndex
    from videox2l.video import Video

Show = Callable[[float, float | None, str], None]
"""Called with how much is done, of how much (None while that is not known), and a remark."""

SHORTEST_S, LONGEST_S = 5.0, 30.0
"""A log gets a line when another tenth is done, but no sooner than the first of these and no later than the second."""

NANO_NOTICE = (
    "Answering with nano, a small bundled model that only knows the needle videos of `videox2l demo`. "
    "For real footage pass --model, for example HuggingFaceTB/SmolVLM2-500M-Video-Instruct."
)


class Lines:
    """Progress as lines.

    doing: what is done, as "indexing". unit: what is counted. clock: gives seconds. say: takes a line.
    """

    def __init__(
        self,
        doing: str,
        unit: str,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda line: typer.echo(line, err=True),
    ):
        self.doing, self.unit, self.clock, self.say = doing, unit, clock, say
        self.started_s = self.said_s = clock()
        self.first: float | None = None
        self.said = 0.0

    def __call__(self, done: float, total: float | None, remark: str) -> None:
        """Say how far it is, if that is due."""
        now = self.clock()
        if self.first is None:
            self.first = self.said = done
        since_s = now - self.said_s
        if not total or done >= total:
            return
        if since_s < SHORTEST_S or (since_s < LONGEST_S and done - self.said < total / 10):
            return
        self.said, self.said_s = done, now
        line = f"{self.doing}: {done:.0f} of {total:.0f} {self.unit} ({done / total:.0%}){remark}"
        if done > self.first:
            line += f", about {(now - self.started_s) / (done - self.first) * (total - done):.0f} s left"
        self.say(line)


@contextmanager
def progress(doing: str, unit: str) -> Iterator[Show]:
    """Show progress until the block ends.

    doing: what is done, as "indexing". unit: what is counted, as "frames".
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(doing, unit)
        return
    columns = [
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + "{task.fields[remark]}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(doing, total=None, remark="", visible=False)
        yield lambda done, total, remark: bar.update(task, completed=done, total=total, remark=remark, visible=True)


@contextmanager
def interruptible(consequence: str) -> Iterator[None]:
    """Let Ctrl-C end the command with a sentence that says what becomes of the work."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {consequence}", err=True)
        raise typer.Exit(130) from None


def index_with_progress(
    engine: VideoX2L, video: Video, names_a_model: bool, subtitles: Path | None = None
) -> VideoIndex:
    """Index a video with its progress on stderr; notes on the video follow.

    names_a_model: whether the user chose the model. If not, it is said which one it is, when a video is indexed and
    not again when its index is found in the store. subtitles: the file to read in place of those that are found.
    """
    said = names_a_model
    with (
        interruptible("finished chunks are kept, the same command continues from there"),
        progress("indexing", "frames") as show,
    ):

        def tell(done: IndexProgress) -> None:
            nonlocal said
            if not said:
                typer.echo(NANO_NOTICE, err=True)
                said = True
            tokens = f", {done.tokens / done.frames:.0f} tokens each" if done.chunks else ""
            show(done.frames, done.total_frames, tokens)

        index = engine.index(video, progress=tell)
        if subtitles is not None:
            index = index.with_subtitles(subtitles)
    for note in index.notes:
        typer.echo(f"note: {note}", err=True)
    return index
