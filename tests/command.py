"""What the fixture `run` gives to tests of the command line."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]
"""Takes the arguments of `videox2l` and, as `text`, its standard input; gives exit code, stdout and stderr."""
