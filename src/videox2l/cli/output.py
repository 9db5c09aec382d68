"""What the commands print: progress on stderr, results on stdout, for people or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from videox2l.times import clock

if TYPE_CHECKING:
    from videox2l.answering.answer import Answer
    from videox2l.engine import VideoX2L
    from videox2l.index.builder import IndexProgress
    from videox2l.index.video_index import VideoIndex
    from videox2l.types import Moment
    from videox2l.video import Sampling


def print_json(values: dict[str, Any]) -> None:
    """One JSON object on stdout, in a line."""
    typer.echo(json.dumps(values, ensure_ascii=False, allow_nan=False))


def index_with_progress(engine: VideoX2L, video: Path, sampling: Sampling) -> VideoIndex:
    """Index a video, showing frames, tokens a frame and the time left on stderr; notes on the video follow."""
    columns = [
        TextColumn("indexing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames{task.fields[tokens]}"),
        TimeRemainingColumn(),
    ]
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("indexing", total=None, tokens="", visible=False)

        def show(done: IndexProgress) -> None:
            tokens = f", {done.tokens / done.frames:.0f} tokens each" if done.chunks else ""
            progress.update(task, completed=done.frames, total=done.total_frames, tokens=tokens, visible=True)

        try:
            index = engine.index(video, sampling, progress=show)
        except KeyboardInterrupt:
            progress.stop()
            typer.echo("interrupted: finished chunks are kept, the same command goes on from there", err=True)
            raise typer.Exit(130) from None
    for note in index.notes:
        typer.echo(f"note: {note}", err=True)
    return index


def print_index(index: VideoIndex, passes: str, verbose: bool, as_json: bool) -> None:
    """What was indexed, at which levels, and what it cost."""
    frames = index.chunks[-1].end_frame
    if as_json:
        values = {
            "key": index.key,
            "chunks": len(index.entries),
            "frames": frames,
            "duration_s": round(index.duration_s, 3),
            "levels": list(index.levels),
            "tokens": {str(level): index.tokens((level,) * len(index.entries)) for level in index.levels},
            "full_cache_tokens": index.full_tokens,
            "decoder_tokens": dict(index.decoder_tokens),
            "seconds": round(index.seconds, 4),
            "index_reused": index.reused,
            "notes": list(index.notes),
        }
        print_json(values)
        return
    done = "found in the store" if index.reused else f"indexed in {index.seconds:.1f} s"
    typer.echo(f"{index.video_name}: {frames} frames in {len(index.entries)} chunks, {done}")
    if verbose:
        for level in index.levels:
            tokens = index.tokens((level,) * len(index.entries))
            typer.echo(f"  {level}x everywhere: {tokens} of {index.full_tokens} tokens")
        counts = ", ".join(f"{name} {tokens}" for name, tokens in index.decoder_tokens.items())
        if len(index.decoder_tokens) == 2:
            counts += f", ratio {index.decoder_tokens['single_pass'] / index.decoder_tokens['two_pass']:.3f}"
        typer.echo(f"  tokens through the decoder ({passes}): {counts}")


def print_answer(answer: Answer, verbose: bool, as_json: bool, with_text: bool = True) -> None:
    """The answer, the moments it came from, and what it cost."""
    if as_json:
        print_json(answer.to_json())
        return
    if with_text:
        typer.echo(answer.text)
    console = Console(stderr=True, highlight=False)
    times_smaller = answer.full_cache_tokens / answer.cache_tokens
    console.print(f"[dim]{origin(answer)}[/dim]")
    console.print(
        f"[dim]cache: {answer.cache_tokens} of {answer.full_cache_tokens} tokens ({times_smaller:.1f}x smaller)[/dim]"
    )
    for note in answer.notes[len(answer.index.notes) :]:
        console.print(f"[yellow]note: {note}[/yellow]")
    if verbose:
        stages = ", ".join(f"{stage} {seconds:.3f} s" for stage, seconds in answer.timings_s.items())
        console.print(f"[dim]{stages}; index {'reused' if answer.index_reused else 'made'}[/dim]")
        for chunk in answer.chunks:
            score = "" if chunk.score is None else f"  {chunk.score:.4f}"
            console.print(f"[dim]  {clock(chunk.start_s)}-{clock(chunk.end_s)}  {chunk.level:>3}x{score}[/dim]")


def origin(answer: Answer) -> str:
    """Where in the video an answer came from, and how sure that is."""
    moments = answer.moments
    if not moments:
        return "from: the whole video, no moment stands out"
    named = ", ".join(moment_time(moment) for moment in moments)
    best = moments[0].confidence
    return f"from: {named}" if best is None or best >= 0.5 else f"from, but unsure: {named}"


def moment_time(moment: Moment) -> str:
    """A moment's best second; its span where none is known."""
    if moment.peak_s is not None:
        return clock(moment.peak_s)
    return f"{clock(moment.start_s)}-{clock(moment.end_s)}"
