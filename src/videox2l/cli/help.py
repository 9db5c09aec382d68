"""Commands and groups whose `--help` shows a flag as what it is: an option without a value."""

from __future__ import annotations

import typer
from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: typer.Context) -> list:  # type: ignore[override,type-arg]
        """Its parameters, `--help` among them."""
        return without_value(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands."""

    def get_params(self, ctx: typer.Context) -> list:  # type: ignore[override,type-arg]
        """Its parameters, `--help` among them."""
        return without_value(super().get_params(ctx))


def without_value(parameters: list) -> list:  # type: ignore[type-arg]
    """The same parameters, with nothing in the place of a flag's value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters
