"""The command line reference, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from videox2l.cli.app import app


def commands_reference() -> str:
    """A section for each command: what it does, its arguments, its options in their groups."""
    return "\n\n".join(section(path, command) for path, command in commands("videox2l", get_command(app)))


def commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command and what is typed for it; behind a group, the commands in it: `videox2l eval needles`."""
    yield path, command
    for name, part in getattr(command, "commands", {}).items():
        if not part.hidden:
            yield from commands(f"{path} {name}", part)


def section(path: str, command: Any) -> str:
    """One command, in Markdown."""
    context = command.make_context(path, [], resilient_parsing=True)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"## `{path}`", paragraphs(command.help or ""), f"```\n{usage}\n```"]
    for title, options in panels(command, context).items():
        parts += [f"**{title}**", "| | what it does |\n|---|---|\n" + "\n".join(options)]
    return "\n\n".join(parts)


def panels(command: Any, context: Any) -> dict[str, list[str]]:
    """A table row for every parameter, by the group it is listed under in `--help`; arguments come first."""
    grouped: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or "--help" in parameter.opts:
            continue
        is_argument = parameter.param_type_name == "argument"
        title = getattr(parameter, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
        name, text = record
        grouped.setdefault(title, []).append(f"| `{cell(name)}` | {cell(text)} |")
    return dict(sorted(grouped.items(), key=lambda panel: panel[0] != "Arguments"))


def paragraphs(text: str) -> str:
    """A help text without the marks that only a terminal needs."""
    return text.replace("\b", "").replace("\f", "").strip()


def cell(text: str) -> str:
    """A text in a table: a bar would end the cell, and a square bracket may begin a link."""
    return " ".join(text.split()).replace("|", "\\|").replace("[default:", "\\[default:").replace("[env", "\\[env")
