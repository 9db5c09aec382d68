"""How this package's docstrings become Markdown: `name: what it is` becomes an item of a list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from griffe import Class, Extension, Function

ENTRY = re.compile(r"((?:\*{0,2}[a-z_][a-z0-9_]*(?:, [a-z_][a-z0-9_]*)*|Raises)): ?(.*)")


class ParameterLists(Extension):
    """Rewrites the docstrings of classes and functions as they are collected."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """A class, whose fields are its members."""
        if cls.docstring:
            cls.docstring.value = as_lists(cls.docstring.value, cls.members)

    def on_function(self, *, func: Function, **_: Any) -> None:
        """A function with its parameters."""
        if func.docstring:
            func.docstring.value = as_lists(func.docstring.value, (parameter.name for parameter in func.parameters))


@dataclass
class Entry:
    """What a docstring says of one name, or of several together."""

    names: str
    text: str


def as_lists(docstring: str, names: Iterable[str]) -> str:
    """The docstring with a list item for every entry. names: see `parse`."""
    lines: list[str] = []
    for part in parse(docstring, names):
        if isinstance(part, Entry):
            told = ", ".join(name if name == "Raises" else f"`{name}`" for name in part.names.split(", "))
            lines += ["", f"- {told}: {part.text}"]
        else:
            lines.append(part)
    return "\n".join(lines).strip()


def described(docstring: str) -> dict[str, str]:
    """What a docstring says of each name."""
    parts = parse(docstring)
    return {name: part.text for part in parts if isinstance(part, Entry) for name in part.names.split(", ")}


def parse(docstring: str, names: Iterable[str] = ()) -> Iterator[str | Entry]:
    """The docstring's lines, and its entries.

    An entry begins a line and goes on to the next entry or an empty line.

    names: those that also begin an entry in the middle of a line, behind the end of a sentence.
    """
    inside = re.compile(rf"(?<=[.;]) (?=(?:(?:{'|'.join(map(re.escape, names)) or '(?!)'})(?:, |: ))+)")
    lines: list[str | Entry] = []
    for line in docstring.splitlines():
        if entry := ENTRY.fullmatch(line.strip()):
            lines.append(Entry(entry[1], entry[2]))
        elif lines and isinstance(last := lines[-1], Entry) and line.strip():
            last.text += f" {line.strip()}"
        else:
            lines.append(line)
    for part in lines:
        if isinstance(part, Entry):
            for text in inside.split(f"{part.names}: {part.text}"):
                entry = ENTRY.fullmatch(text)
                assert entry is not None
                yield Entry(entry[1], entry[2])
        else:
            yield part
