"""What `--json` prints has the fields, and the types, that the reference describes."""

import json
import types
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from typer.testing import CliRunner

from videox2l.cli.app import app
from videox2l.cli.json_output import AnswerJson, FindJson, IndexJson


def check(value: object, kind: Any, where: str) -> None:
    """A value read from JSON is of the kind, in all its parts."""
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        assert isinstance(value, dict) and value.keys() == hints.keys(), where
        for name, part in hints.items():
            check(value[name], part, f"{where}.{name}")
    elif get_origin(kind) in (Union, types.UnionType):
        if value is None:
            assert type(None) in get_args(kind), where
        else:
            assert any(fits(value, part, where) for part in get_args(kind) if part is not type(None)), where
    elif get_origin(kind) is list:
        assert isinstance(value, list), where
        for number, part in enumerate(value):
            check(part, get_args(kind)[0], f"{where}[{number}]")
    elif get_origin(kind) is dict:
        assert isinstance(value, dict), where
        for name, part in value.items():
            check(part, get_args(kind)[1], f"{where}.{name}")
    elif kind is not Any:
        kinds = (int, float) if kind is float else (kind,)
        assert isinstance(value, kinds) and (kind is bool or not isinstance(value, bool)), f"{where}: {value!r}"


def fits(value: object, kind: Any, where: str) -> bool:
    try:
        check(value, kind, where)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["ask", "What digit is on the red star?"], AnswerJson),
        (["ask", "What digit is on the red star?", "--selector", "even"], AnswerJson),
        (["ask", "What digit is on the red star?", "--oracle", "random"], AnswerJson),
        (["ask", "How many red shapes appear?", "--second-look"], AnswerJson),
        (["ask", "What is it?", "--levels", "fresh,32", "--leave-out", "--k", "0", "--no-fine-edges"], AnswerJson),
        (["ask", "What is it?", "--levels", "fresh", "--selector", "frames_aks", "--cache-tokens", "30"], AnswerJson),
        (["index"], IndexJson),
        (["index", "--levels", "fresh,32"], IndexJson),
        (["find", "orange heart"], FindJson),
    ],
)
def test_json_output_is_as_described(words, kind, made_clip):
    command, *rest = words
    result = CliRunner().invoke(app, [command, str(made_clip), *rest, "--model", "nano", "--json"])
    assert result.exit_code == 0, result.output
    check(json.loads(result.stdout), kind, command)
