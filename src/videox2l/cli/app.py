"""The commands, and how every one of them ends: 0, or 2 with one sentence on stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from videox2l.cli import evaluation, needles
from videox2l.cli.options import (
    EngineOptions,
    GenerationOptions,
    Json,
    SamplingOptions,
    Verbose,
    VideoArgument,
    with_options,
)
from videox2l.cli.output import index_with_progress, print_answer, print_index, print_json
from videox2l.errors import VideoX2LError

app = typer.Typer(
    help="Ask questions about long videos from a KV cache compressed at two levels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.command()
@with_options(engine_options=EngineOptions, sampling_options=SamplingOptions)
def index(
    video: VideoArgument,
    engine_options: EngineOptions,
    sampling_options: SamplingOptions,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Compress a video at every level and keep it in the store; goes on where it was interrupted."""
    sampling = sampling_options.sampling()
    engine = engine_options.engine()
    made = index_with_progress(engine, video, sampling)
    print_index(made, engine.compressor.passes, verbose, as_json)


@app.command()
@with_options(engine_options=EngineOptions, sampling_options=SamplingOptions, generation_options=GenerationOptions)
def ask(
    video: VideoArgument,
    question: Annotated[str, typer.Argument(help="The question.")],
    engine_options: EngineOptions,
    sampling_options: SamplingOptions,
    generation_options: GenerationOptions,
    plot: Annotated[Path | None, typer.Option(help="Save a timeline of relevance and levels here.")] = None,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Answer a question about a video, indexing it first if the store does not have it."""
    from videox2l.engine import check_question

    check_question(question)
    sampling, generation = sampling_options.sampling(), generation_options.generation(engine_options.seed)
    engine = engine_options.engine()
    made = index_with_progress(engine, video, sampling)
    answer = engine.ask(made, question, generation=generation)
    if plot is not None:
        answer.plot(plot)
    print_answer(answer, verbose, as_json)


@app.command()
@with_options(engine_options=EngineOptions, sampling_options=SamplingOptions, generation_options=GenerationOptions)
def chat(
    video: VideoArgument,
    engine_options: EngineOptions,
    sampling_options: SamplingOptions,
    generation_options: GenerationOptions,
    as_json: Json = False,
) -> None:
    """Talk about a video: a question a line, until an empty line or the end of input."""
    sampling, generation = sampling_options.sampling(), generation_options.generation(engine_options.seed)
    engine = engine_options.engine()
    conversation = engine.chat(index_with_progress(engine, video, sampling))
    while question := read_question():
        try:
            stream = conversation.stream(question, generation=generation)
            for piece in stream:
                if not as_json:
                    typer.echo(piece, nl=False)
        except VideoX2LError as error:  # a bad question ends the turn, not the conversation
            typer.echo(f"error: {error}", err=True)
            continue
        if as_json:
            print_json(stream.answer.to_json())
        else:
            typer.echo()
            print_answer(stream.answer, verbose=False, as_json=False, with_text=False)


app.command()(needles.demo)
app.command()(needles.synth)
app.add_typer(evaluation.commands, name="eval")


def read_question() -> str:
    """The next line of input; empty at its end. The prompt is shown only to a person."""
    if sys.stdin.isatty():
        typer.echo("> ", nl=False, err=True)
    return sys.stdin.readline().strip()


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """Ask questions about long videos from a KV cache compressed at two levels."""
    if show:
        from videox2l.version import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; a mistake of the user's ends with one sentence and exit code 2."""
    try:
        app()
    except VideoX2LError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
