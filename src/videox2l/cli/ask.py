"""`videox2l index` and `videox2l ask`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videox2l.checks import check_question
from videox2l.cli.option_groups import with_options
from videox2l.cli.options import (
    AtOnce,
    EngineOptions,
    GenerationOptions,
    IndexOptions,
    Json,
    SamplingOptions,
    SubtitleFile,
    Verbose,
    VideoArgument,
    check_subtitles,
    path_for,
)
from videox2l.cli.output import check_picture, numbered, print_error, print_index, print_json, show_answer
from videox2l.cli.progress import index_with_progress
from videox2l.errors import QuestionError, SettingsError, StoreError

if TYPE_CHECKING:
    from videox2l.answering.stream import AnswerStream


@with_options(sampling_options=SamplingOptions, index_options=IndexOptions)
def index(
    video: VideoArgument,
    sampling_options: SamplingOptions,
    index_options: IndexOptions,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Index a video now, so that questions about it are answered at once later.

    If interrupted, run the same command again: it continues where it stopped.
    """
    if index_options.store == "ram":
        raise SettingsError("--store ram keeps nothing once the command ends: leave it out, or pass a directory")
    source = sampling_options.open(video)
    engine = index_options.engine()
    made = index_with_progress(engine, source, index_options.model is not None)
    print_index(made, engine, verbose, as_json)


@with_options(sampling_options=SamplingOptions, engine_options=EngineOptions, generation_options=GenerationOptions)
def ask(
    video: VideoArgument,
    sampling_options: SamplingOptions,
    engine_options: EngineOptions,
    generation_options: GenerationOptions,
    questions: Annotated[
        list[str] | None, typer.Argument(metavar="QUESTION", show_default=False, help="One question or more.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--questions",
            metavar="FILE",
            help='Read questions from a file, one per line: text, or JSON with a "question". - is standard input.',
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_for("--plot"),
            help="Save a picture of where the answer came from (.png, .pdf or .svg).",
        ),
    ] = None,
    subtitles: SubtitleFile = None,
    at_once: AtOnce = 8,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Answer questions about a video, indexing it first if needed.

    Several questions are answered at once, which is faster; the answers are printed in the order of the questions.
    """
    asked = [*(questions or ()), *(read_questions(file) if file is not None else ())]
    check_questions(asked)
    if plot is not None:
        check_picture(plot)
    check_subtitles(subtitles, engine_options.no_subtitles)
    source = sampling_options.open(video)
    generation = generation_options.generation(engine_options.seed)
    engine = engine_options.engine()
    made = index_with_progress(engine, source, engine_options.model is not None, subtitles)
    scheduler = engine.scheduler(sequences=at_once) if len(asked) > 1 else None

    def start(question: str) -> AnswerStream | QuestionError:
        try:
            return engine.stream(made, question, generation=generation, scheduler=scheduler)
        except QuestionError as error:
            return error

    failed = False
    for number, (question, stream) in enumerate(zip(asked, list(map(start, asked)), strict=True), 1):
        if len(asked) > 1 and not as_json:
            typer.secho(question, bold=True)
        try:
            if isinstance(stream, QuestionError):
                raise stream
            answer = show_answer(stream, verbose, as_json)
        except QuestionError as error:  # the others may have answers
            if as_json:
                print_json({"question": question, "error": str(error)})
            print_error(error)
            failed = True
            continue
        if plot is not None:
            try:
                answer.plot(picture := numbered(plot, number, asked))
                typer.echo(f"saved {picture}", err=True)
            except (SettingsError, StoreError) as error:  # the answer is out, and others may follow
                print_error(error)
                failed = True
    if failed:
        raise typer.Exit(2)


def read_questions(file: str) -> list[str]:
    """The questions of a file, one a line, blank lines left out. Raises: QuestionError."""
    name = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8-sig")
    except OSError as error:
        raise QuestionError(f"{name} can't be read ({error.strerror}): check the name and its permissions") from None
    except UnicodeDecodeError:
        raise QuestionError(f"{name} is not text in UTF-8: save it so") from None
    questions = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line.startswith("{"):
            questions += [line] if line else []
            continue
        try:
            question = json.loads(line)["question"]
        except (ValueError, KeyError):
            question = None
        if isinstance(question, str) and not question.strip():
            raise QuestionError(f"the question in line {number} of {name} is empty: ask something about the video")
        if not isinstance(question, str):
            raise QuestionError(
                f'line {number} of {name} is not a JSON object with a "question": write {{"question": "What is it?"}}'
            )
        questions.append(question)
    if not questions:
        raise QuestionError(f"{name} has no questions: write one per line")
    return questions


def check_questions(questions: list[str]) -> None:
    """Raises: QuestionError for no question, an empty one, or one that is not meant as such."""
    if not questions:
        raise QuestionError("there is no question: write one after the video, in quotes, or pass --questions FILE")
    for question in questions:
        check_question(question)
        if any("\ud800" <= character <= "\udfff" for character in question):
            raise QuestionError(f"the question {question!a} is not valid text: type it in UTF-8")
        if question.strip() == "-":
            raise QuestionError('"-" is not a question: pass --questions - to read questions from standard input')
