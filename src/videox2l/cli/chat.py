"""`videox2l chat`: a conversation, with commands that begin with a slash."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from videox2l.cli.option_groups import with_options
from videox2l.cli.options import (
    EngineOptions,
    GenerationOptions,
    Json,
    SamplingOptions,
    SubtitleFile,
    Verbose,
    VideoArgument,
    check_subtitles,
)
from videox2l.cli.output import check_picture, print_error, print_json, print_moments, show_answer
from videox2l.cli.progress import index_with_progress
from videox2l.errors import QuestionError, SettingsError, VideoX2LError
from videox2l.oracles.registry import ORACLES, make_oracle
from videox2l.selection.registry import SELECTORS, make_selector
from videox2l.times import clock

if TYPE_CHECKING:
    from videox2l.answering.answer import Answer
    from videox2l.answering.generation import Generation
    from videox2l.engine import Chat
    from videox2l.oracles.base import Oracle
    from videox2l.selection.base import Selector
    from videox2l.types import Moment

HELP = """\
/moments       where in the video the last answer came from
/find TEXT     moments that show or say something: /find orange heart
/plot FILE     save a picture of where the last answer came from
/k N           read N chunks in full detail
/oracle NAME   score chunks another way: /oracle attention
/help          this list
/quit          leave; so does Ctrl-D
Ctrl-C stops an answer."""


@with_options(sampling_options=SamplingOptions, engine_options=EngineOptions, generation_options=GenerationOptions)
def chat(
    video: VideoArgument,
    sampling_options: SamplingOptions,
    engine_options: EngineOptions,
    generation_options: GenerationOptions,
    subtitles: SubtitleFile = None,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Talk about a video, question after question.

    Type /help for the commands. Questions can also be piped in, one per line.
    """
    check_subtitles(subtitles, engine_options.no_subtitles)
    source = sampling_options.open(video)
    generation = generation_options.generation(engine_options.seed)
    engine = engine_options.engine()
    made = index_with_progress(engine, source, engine_options.model is not None, subtitles)
    is_typed = sys.stdin.isatty()
    conversation = Conversation(engine.chat(made), generation, verbose, as_json, is_typed)
    if is_typed:
        typer.echo(f"{made.video_name}, {clock(made.duration_s)} long, answered by {engine.model.name}.", err=True)
        typer.echo("Type a question. /help lists commands, Ctrl-D leaves.", err=True)
        for note in conversation.chat.notes:
            typer.echo(f"note: {note}", err=True)
    for line in typed_lines() if is_typed else sys.stdin:
        if not conversation.take(line):
            break
    if conversation.has_failed and not is_typed:
        raise typer.Exit(2)


def typed_lines() -> Iterator[str]:
    """Lines as a person types them, with editing, a history and Tab for commands.

    The prompt goes to stderr where stdout is not a terminal.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.output import create_output

    commands = ["/find ", "/help", "/k ", "/moments", "/plot ", "/quit", *(f"/oracle {name}" for name in ORACLES.names)]
    session: PromptSession[str] = PromptSession(
        output=create_output(always_prefer_tty=True),
        completer=WordCompleter(commands, sentence=True),
        complete_while_typing=False,
    )
    while True:
        try:
            yield session.prompt("> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


@dataclass
class Conversation:
    """A conversation in progress.

    chat: the turns so far. generation: how answers are decoded. verbose, as_json: how they are printed.
    is_typed: whether a person types, who may stop an answer with Ctrl-C.
    oracle, selector: chosen by a command; the engine's own at first. answer: the last one.
    has_failed: whether a line could not be done.
    """

    chat: Chat
    generation: Generation
    verbose: bool
    as_json: bool
    is_typed: bool
    oracle: str | Oracle | None = None
    selector: Selector | None = None
    answer: Answer | None = None
    has_failed: bool = False

    def take(self, line: str) -> bool:
        """Answer a question or obey a command; whether the conversation goes on."""
        text = " ".join(line.split())
        try:
            if text.startswith("/"):
                return self.obey(*text.partition(" ")[::2])
            if text:
                self.ask(text)
        except VideoX2LError as error:  # ends the turn, not the conversation
            print_error(error)
            if self.as_json:
                print_json({"text": text, "error": str(error)})
            self.has_failed = True
        except KeyboardInterrupt:
            if not self.is_typed:
                raise
            typer.echo("\nstopped; this turn is forgotten", err=True)
        return True

    def ask(self, question: str) -> None:
        """Answer a question in the light of the turns before."""
        stream = self.chat.stream(question, generation=self.generation, oracle=self.oracle, selector=self.selector)
        self.answer = show_answer(stream, self.verbose, self.as_json)

    def obey(self, command: str, argument: str) -> bool:
        """Do what a command says; whether the conversation goes on. Raises: VideoX2LError."""
        match command:
            case "/quit" | "/exit":
                return False
            case "/help":
                typer.echo(HELP, err=True)
            case "/moments":
                self.show_moments("moments", self.last_answer.question, self.last_answer.moments)
            case "/find":
                self.find(argument)
            case "/plot":
                self.plot(argument)
            case "/k":
                self.set_k(argument)
            case "/oracle":
                self.set_oracle(argument)
            case _:
                raise SettingsError(f"{command} is not a command: /help lists them")
        return True

    @property
    def last_answer(self) -> Answer:
        """The last answer. Raises: QuestionError if there is none yet."""
        if self.answer is None:
            raise QuestionError("there is no answer yet: ask something first")
        return self.answer

    def find(self, text: str) -> None:
        """Print the moments that show something. Raises: QuestionError, SettingsError."""
        if self.chat.engine.encoder is None and not self.chat.index.subtitles:
            raise SettingsError(
                "/find needs an encoder or subtitles: start again with --encoder and a CLIP or SigLIP model"
            )
        self.show_moments("find", text, self.chat.engine.find(self.chat.index, text))

    def show_moments(self, kind: str, text: str, moments: Sequence[Moment]) -> None:
        """Print moments. kind: the command that asks for them. text: what they answer, or show."""
        if self.as_json:
            print_json({"kind": kind, "text": text, "moments": [asdict(moment) for moment in moments]})
        else:
            print_moments(moments)

    def plot(self, name: str) -> None:
        """Save a picture of the last answer. Raises: QuestionError, SettingsError, StoreError."""
        if not name:
            raise SettingsError("/plot needs the name of a file: write for example /plot timeline.png")
        answer, file = self.last_answer, Path(name).expanduser()
        check_picture(file)
        answer.plot(file)
        typer.echo(f"saved {file}", err=True)

    def set_k(self, text: str) -> None:
        """Read another number of chunks in full detail. Raises: SettingsError."""
        selector = self.selector or make_selector(self.chat.engine.selector)
        if "k" not in {field.name for field in fields(selector)}:
            name = SELECTORS.describe(selector)["name"]
            raise SettingsError(f"/k means nothing to the selector {name}: start again with --selector top_k")
        if not text.isdecimal():
            raise SettingsError(f"/k {text!r} is not a number of chunks: write for example /k 5")
        self.selector = replace(selector, k=int(text))  # type: ignore[call-arg]
        typer.echo(f"{text} chunks will be read in full detail", err=True)

    def set_oracle(self, name: str) -> None:
        """Score chunks another way. Raises: SettingsError."""
        self.oracle = make_oracle(name, encoder=self.chat.engine.encoder, seed=self.generation.seed)
        typer.echo(f"chunks will be scored by {name}", err=True)
