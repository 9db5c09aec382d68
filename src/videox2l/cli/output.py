"""What the commands print: results on stdout for people or as JSON, all else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

from videox2l.errors import SettingsError, VideoX2LError
from videox2l.levels import FRESH, Level, level_name, plain_level
from videox2l.times import clock
from videox2l.version import __version__

if TYPE_CHECKING:
    from videox2l.answering.answer import Answer
    from videox2l.answering.stream import AnswerStream
    from videox2l.engine import VideoX2L
    from videox2l.index.video_index import VideoIndex
    from videox2l.types import Moment

PASSES = {"single_pass": "a single pass", "two_pass": "two passes"}
"""How a compressor makes its levels, in words."""


def print_json(values: dict[str, Any]) -> None:
    """One JSON object on stdout, in a line."""
    typer.echo(json.dumps(values, ensure_ascii=False, allow_nan=False))


def print_error(error: VideoX2LError | str) -> None:
    """A mistake in one sentence on stderr."""
    typer.echo(f"error: {error}", err=True)


def print_index(index: VideoIndex, engine: VideoX2L, verbose: bool, as_json: bool) -> None:
    """What was indexed, at which levels, and what it cost."""
    passes = engine.compressor.passes
    frames = index.chunks[-1].end_frame
    if as_json:
        values = {
            "key": index.key,
            "chunks": len(index.entries),
            "frames": frames,
            "video": index.video_name,
            "duration_s": round(index.duration_s, 3),
            "sampling": index.spec.video.sampling,
            "model": engine.model.name,
            "levels": [plain_level(level) for level in index.levels],
            "tokens": {str(plain_level(level)): index.tokens((level,) * len(index.entries)) for level in index.levels},
            "ratios": {str(plain_level(level)): rounded(index.ratio(level)) for level in index.levels},
            "full_cache_tokens": index.full_tokens,
            "decoder_tokens": dict(index.decoder_tokens),
            "seconds": round(index.seconds, 4),
            "index_reused": index.reused,
            "subtitles": [track.name for track in index.subtitles],
            "notes": list(index.notes),
            "version": __version__,
        }
        print_json(values)
        return
    done = "found in the store" if index.reused else f"indexed in {index.seconds:.1f} s"
    typer.echo(f"{index.video_name}: {frames} frames in {len(index.entries)} chunks, {done}")
    if index.subtitles:
        typer.echo(f"subtitles: {', '.join(track.name for track in index.subtitles)}")
    if verbose:
        for level in index.levels:
            tokens = index.tokens((level,) * len(index.entries))
            typer.echo(f"  {told_level(level, index.ratio(level))} everywhere: {tokens} of {index.full_tokens} tokens")
        ran = index.decoder_tokens[passes]
        line = f"  the decoder ran {ran} tokens in {PASSES[passes]}"
        for other, tokens in index.decoder_tokens.items():
            if other != passes:
                line += f"; in {PASSES[other]} it would run {tokens}, {tokens / ran:.2f} times as many"
        typer.echo(line)


def show_answer(stream: AnswerStream, verbose: bool, as_json: bool) -> Answer:
    """Print an answer, in a terminal as it is decoded, and where it came from on stderr."""
    if as_json:
        print_json(stream.answer.to_json())
    elif sys.stdout.isatty():
        begun = False
        for piece in stream:
            piece = piece if begun else piece.lstrip()
            begun = begun or bool(piece)
            typer.echo(piece, nl=False)
        typer.echo()
    else:
        typer.echo(stream.answer.text)
    if not as_json:
        if not stream.answer.text:
            typer.echo("(the model said nothing)", err=True)
        print_details(stream.answer, verbose)
    return stream.answer


def print_details(answer: Answer, verbose: bool) -> None:
    """The moments an answer came from, and what it cost."""
    console = Console(stderr=True, highlight=False)
    times_smaller = answer.full_cache_tokens / answer.cache_tokens
    console.print(f"[dim]{origin(answer)}[/dim]")
    console.print(
        f"[dim]cache: {answer.cache_tokens} of {answer.full_cache_tokens} tokens ({times_smaller:.1f}x smaller)[/dim]"
    )
    if (subtitles := answer.selection.subtitles) is not None:
        console.print(f"[dim]chosen by the words of {escape(subtitles)}[/dim]")
    if (first := answer.first_look) is not None:
        console.print(
            f"[dim]second look: the first one, at {first.cache_tokens} tokens, left the model unsure (margin "
            f"{first.margin:.2f}) and took {first.seconds:.2f} s[/dim]"
        )
    for note in answer.notes[len(answer.index.notes) :]:
        console.print(f"[yellow]note: {note}[/yellow]")
    if verbose:
        stages = ", ".join(f"{stage} {seconds:.3f} s" for stage, seconds in answer.timings_s.items())
        console.print(f"[dim]{stages}; index {'reused' if answer.index_reused else 'made'}[/dim]")
        for chunk in answer.chunks:
            score = "" if chunk.score is None else f"  {chunk.score:.4f}"
            level = told_level(chunk.level, chunk.ratio)
            console.print(f"[dim]  {clock(chunk.start_s)}-{clock(chunk.end_s)}  {level:>7}{score}[/dim]")


def told_level(level: Level, ratio: float | None) -> str:
    """A level, and its real compression ratio where that is another number: "32x (really 13.1x)"."""
    if ratio is None or level == FRESH or round(ratio) == level:
        return level_name(level)
    return f"{level_name(level)} (really {ratio:.1f}x)"


def rounded(ratio: float | None) -> float | None:
    """A ratio for JSON."""
    return None if ratio is None else round(ratio, 2)


def origin(answer: Answer) -> str:
    """Where in the video an answer came from, and how sure that is."""
    moments = answer.moments
    if not moments:
        chosen = any(chunk.is_chosen for chunk in answer.chunks)
        return "from: the whole video, no single moment stands out" if chosen else "from: the whole video"
    named = ", ".join(moment_time(moment) for moment in moments)
    best = moments[0].confidence
    return f"from: {named}" if best is None or best >= 0.5 else f"from, but unsure: {named}"


def moment_time(moment: Moment) -> str:
    """A moment's best second; its span where none is known."""
    return span(moment) if moment.peak_s is None else clock(moment.peak_s)


def span(moment: Moment) -> str:
    """From when to when a moment lasts."""
    return f"{clock(moment.start_s)}-{clock(moment.end_s)}"


def print_moments(moments: Sequence[Moment]) -> None:
    """Moments on stdout, the best first, one a line."""
    if not moments:
        typer.echo("no moment stands out")
    for number, moment in enumerate(moments, 1):
        line = f"{number:>2}  {moment_time(moment):>7}"
        if moment.peak_s is not None:
            line += f"  ({span(moment)})"
        if moment.score is not None:
            line += f"  score {moment.score:.3f}"
        if moment.confidence is not None:
            line += f"  {moment.confidence:.0%} sure"
        if moment.subtitle is not None:
            line += f"  {shortened(moment.subtitle)}"
        typer.echo(line)


def shortened(text: str) -> str:
    """A subtitle in quotation marks, its middle left out where it is long."""
    return f'"{text}"' if len(text) <= 60 else f'"{text[:30].rstrip()} ... {text[-25:].lstrip()}"'


def check_picture(file: Path) -> None:
    """Refuse early what a picture can't be saved as. Raises: SettingsError."""
    if file.suffix.lower() not in {".png", ".pdf", ".svg"}:
        raise SettingsError(f"can't save a picture as {file.name}: end the name in .png, .pdf or .svg")
    check_folder(file.parent, f"can't save {file}")
    if file.is_dir():
        raise SettingsError(f"can't save {file}: it is a folder, give the name of a file")


def check_folder(folder: Path, cant: str) -> None:
    """Refuse a folder that nothing can be written to. Raises: SettingsError that begins with `cant`."""
    if not folder.exists():
        raise SettingsError(f"{cant}: the folder {folder} does not exist, make it first")
    if not folder.is_dir():
        raise SettingsError(f"{cant}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"{cant}: the folder {folder} can't be written to, choose another")


def numbered(file: Path, number: int, of: Sequence[object]) -> Path:
    """A file of its own for each of several things: timeline-2.png."""
    return file if len(of) == 1 else file.with_stem(f"{file.stem}-{number}")
