"""What the pages say of commands, options, names and fields is what the code has; nothing is run."""

import ast
import importlib
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import videox2l
from videox2l.cli.app import app
from videox2l.compression.registry import COMPRESSORS
from videox2l.oracles.registry import ORACLES
from videox2l.selection.registry import SELECTORS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GENERATE = ROOT / "docs" / "generate"


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language in a page."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def typed_commands() -> list[tuple[str, str]]:
    """Every `videox2l ...` in the pages, in blocks and in the text, with the page's name."""
    found = []
    for page in PAGES:
        lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
        for text in [*lines, *re.findall(r"`(videox2l [^`]+)`", page.read_text())]:
            words = shlex.split(text, comments=True)
            for start, word in enumerate(words):
                if word.rpartition("/")[2] == "videox2l" and words[start - 1 : start] in ([], ["&&"], ["|"]):
                    found.append((page.name, shlex.join(words[start + 1 :])))
    return found


COMMANDS = typed_commands()


def options_of(command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_and_option_in_the_pages_exists(page, line):
    command: Any = get_command(app)
    words = shlex.split(line)
    while words and words[0] in (inside := getattr(command, "commands", {})):
        command = inside[words.pop(0)]
    if words and hasattr(command, "default"):
        command = command.commands[command.default]
    assert not hasattr(command, "commands") or not words or words[0].startswith("-"), f"no command {words[:1]} ({page})"
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert used <= options_of(command) | {"--help", "-h"}, page


def test_the_pages_have_commands_to_check():
    assert len(COMMANDS) >= 15
    assert {"README.md", "quickstart.md"} <= {page for page, _ in COMMANDS}


def test_every_option_that_is_named_in_the_pages_exists():
    commands, known = [get_command(app)], {"--help"}
    while commands:
        command = commands.pop()
        commands += getattr(command, "commands", {}).values()
        known |= options_of(command)
    foreign = {"--commands", "--strict", "--compressors", "--fidelity", "--another-cpu", "--resolution"}
    for page in PAGES:
        named = set(re.findall(r"`(--[a-z][a-z-]+)", page.read_text()))
        assert named <= known | foreign, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_pages_import_exists(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "videox2l":
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), node.module


@pytest.mark.parametrize(
    ("page", "names"),
    [("oracles.md", ORACLES.names), ("selectors.md", SELECTORS.names), ("compressors.md", COMPRESSORS.names)],
)
def test_every_part_by_name_is_on_its_page(page, names):
    text = (ROOT / "docs" / page).read_text()
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_public_name_is_in_the_python_reference():
    text = (ROOT / "docs" / "python.md").read_text() + "::: videox2l.VideoX2LError\n"  # it is among the errors
    names = [name for name in videox2l.__all__ if not name.startswith("__")]
    assert [name for name in names if f"::: videox2l.{name}\n" not in text] == []


def test_what_the_python_reference_names_exists():
    for name in re.findall(r"^::: (\S+)", (ROOT / "docs" / "python.md").read_text(), flags=re.MULTILINE):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            module, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), name


def test_the_figures_are_those_that_the_script_draws(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(GENERATE), *sys.path])
    figures = importlib.import_module("figures")
    for name, draw in figures.PICTURES.items():
        assert (ROOT / "docs" / "figures" / name).read_text() == draw(), "run python docs/generate/figures.py"


def source_strings() -> list[str]:
    """Every string in the package, with an ellipsis where a value is put in."""
    found = []
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_every_message_on_the_troubleshooting_page_is_one_of_ours():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    messages = [
        message
        for line in re.findall(r"^\*\*(`.+`)\*\*$", page, flags=re.MULTILINE)
        for message in line[1:-1].split("`, `")
    ]
    assert len(messages) >= 20
    strings = source_strings()
    for message in messages:
        said = [part for part in re.split(r"'?\.\.\.'?|\b(?:N|M|10)\b", message) if part.strip()]
        assert any(all(part.strip() in string for part in said) for string in strings), message
