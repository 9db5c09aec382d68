"""Times as people write them: 1:15, 1:01:15.5, 75s."""

from __future__ import annotations

import re

from videox2l.errors import SettingsError


def parse_time(text: str) -> float:
    """Seconds of "75s", "75.5s", "1:15" or "1:01:15.5". Raises: SettingsError for anything else."""
    text = text.strip()
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)s", text):
        return float(match[1])
    if re.fullmatch(r"(\d+:)?\d+:\d+(\.\d+)?", text):
        seconds = 0.0
        for part in text.split(":"):
            seconds = seconds * 60 + float(part)
        return seconds
    raise SettingsError(f"{text!r} is not a time: write 75s or 1:15")


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
