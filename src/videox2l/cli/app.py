"""The commands, and how every one of them ends: 0, or 2 with one sentence on stderr."""

from __future__ import annotations

import os
import re
import sys
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from videox2l.cli import evaluation
from videox2l.cli.ask import ask, index
from videox2l.cli.chat import chat
from videox2l.cli.find import find
from videox2l.cli.help import Command, Group
from videox2l.cli.needles import demo, synth
from videox2l.cli.output import print_error, print_json
from videox2l.errors import VideoX2LError

UsageError: Any = typer.BadParameter.__base__
"""What typer raises for a command line it can't read; it has no public name for it."""

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(cls=Command)(ask)
app.command(cls=Command)(chat)
app.command(cls=Command)(find)
app.command(cls=Command)(index)
app.command(cls=Command)(demo)
app.command(cls=Command)(synth)
app.add_typer(evaluation.commands, name="eval")


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """Ask questions about long videos, and get the answer with the moments it came from."""
    if show:
        from videox2l.version import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; a mistake of the user's ends with one sentence and exit code 2."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell, as by >&-
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # bytes that are no text, or a terminal that lacks a character
    try:
        code = app(standalone_mode=False)
    except VideoX2LError as error:
        refuse(str(error))
        code = 2
    except UsageError as error:
        # without a message it is the help, which was shown
        if message := " ".join(error.format_message().split()).rstrip("."):
            message = re.sub("Input should be ([^,]*), unable to parse.*", r"it should be \1", message)
            command = error.ctx.command_path if error.ctx else "videox2l"
            refuse(f"{message[0].lower()}{message[1:]}: see `{command} -h`")
        code = 2
    except OSError as error:
        if error.filename is not None:
            raise
        print_error(f"can't write the output ({error.strerror}): send it elsewhere")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left of it would fail again at the end
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    sys.exit(code)


def refuse(message: str) -> None:
    """Say what ended the command; with --json on stdout too."""
    print_error(message)
    if "--json" in sys.argv:
        print_json({"error": message})
