"""A real terminal (pty) in which a command runs, as a person sees and types it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

UP, LEFT, BACKSPACE, TAB, CTRL_C, CTRL_D, ENTER = "\x1b[A", "\x1b[D", "\x7f", "\t", "\x03", "\x04", "\r"

TAKE_THE_TERMINAL = """
import fcntl, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests in the background inherit as ignored
from videox2l.cli import main
sys.argv = ["videox2l", *sys.argv[1:]]
main()
"""


class Terminal:
    """The command line with its standard streams on a terminal of 80 columns.

    arguments: of `videox2l`. environment: beside this process's own. stdout: where it goes, if not to the terminal.
    """

    def __init__(self, arguments: Sequence[object], environment: Mapping[str, str], stdout: int | None = None):
        self._ours, theirs = pty.openpty()
        named = {"TERM": "xterm", "COLUMNS": "80", "LINES": "40", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE_THE_TERMINAL, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            env=os.environ | named | dict(environment),
            start_new_session=True,
        )
        os.close(theirs)
        self._raw = b""
        self._read = 0

    @property
    def screen(self) -> str:
        """All that was shown, without control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()=>][0B]?|\r", "", self._raw.decode(errors="replace"))

    def send(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def wait_for(self, text: str) -> None:
        """Wait until a text is shown that was not there when it was last waited for."""
        self.wait_until(lambda: text in self.screen[self._read :])
        self._read = self.screen.index(text, self._read) + len(text)

    def wait_for_more(self, characters: int) -> None:
        """Wait until so many more characters are shown."""
        wanted = len(self.screen) + characters
        self.wait_until(lambda: len(self.screen) >= wanted)

    def wait_for_prompt(self) -> None:
        """Wait until a line can be edited: keys that are pressed before go to the kernel, which knows fewer of them."""
        self.wait_until(lambda: not termios.tcgetattr(self._ours)[3] & termios.ICANON)

    def wait_until(self, is_so: Callable[[], bool], seconds: float = 120) -> None:
        """Wait until something is so, showing what the command prints."""
        until = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < until, f"waited in vain, shown since: {self.screen[self._read :]!r}"
            self._take(0.1)

    def wait(self, seconds: float = 60) -> int:
        """The exit code."""
        until = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < until:
            self._take(0.1)
        self._take(0)
        return self._process.wait(1)

    def _take(self, seconds: float) -> None:
        while select.select([self._ours], [], [], seconds)[0]:
            try:
                more = os.read(self._ours, 65536)
            except OSError:  # closed at the other end
                return
            self._raw += more
            seconds = 0
            if not more:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._ours)
