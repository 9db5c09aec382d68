"""The tables of what `--json` prints, from `videox2l.cli.json_output`."""

from __future__ import annotations

import re

from docstrings import described

from videox2l.cli import json_output


def fields_table(name: str) -> str:
    """A class's sentence and a table of its fields, with a link where a field holds objects of another class."""
    of = getattr(json_output, name)
    texts = described(of.__doc__)
    lines = [
        f'<a id="{name.lower()}"></a>',
        of.__doc__.partition("\n")[0],
        "",
        "| field | type | what it is |",
        "|---|---|---|",
    ]
    for field, annotation in of.__annotations__.items():
        kind = re.sub(r"\b(\w+)Json\b", lambda match: f"[{match[1].lower()}](#{match[0].lower()})", plain(annotation))
        lines.append(f"| `{field}` | {kind} | {texts[field]} |")
    return "\n".join(lines)


def plain(annotation: object) -> str:
    """A type as JSON calls it."""
    text = str(getattr(annotation, "__forward_arg__", annotation))
    for python, json in {
        "dict[str, Any]": "object",
        "dict[str, float | None]": "object of numbers or nulls",
        "int | str": "number or text",
        "dict[str, float]": "object of numbers",
        "dict[str, int]": "object of numbers",
        " | None": " or null",
        "bool": "true or false",
        "float": "number",
        "int": "number",
        "str": "text",
    }.items():
        text = text.replace(python, json)
    return re.sub(r"list\[(.+)\]", r"list of \1", text)
