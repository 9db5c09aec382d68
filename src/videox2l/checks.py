"""What is refused at the doors of the library and the command line alike; nothing slow is imported for it."""

from __future__ import annotations

import os
import re
from numbers import Integral
from types import UnionType

from videox2l.errors import QuestionError, SettingsError, VideoError, VideoX2LError


def check_kind(
    value: object, kind: type | UnionType, name: str, mend: str, error: type[VideoX2LError] = SettingsError
) -> None:
    """Refuse a value of another type.

    value: what was given. kind: the type it must have. name: what it is given for, as "oracle". mend: what to pass
    instead. error: the class to raise; SettingsError by default.
    Raises: the error.
    """
    if not isinstance(value, kind):
        found = (
            f"the class {value.__name__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"
        )
        raise error(f"{name} can't be {found}: pass {mend}")


def check_number(value: object, least: int, name: str, unit: str) -> None:
    """Refuse what is not a whole number from `least` on. Raises: SettingsError."""
    if not isinstance(value, Integral) or value < least:
        raise SettingsError(f"{name}={value!r} is not a number of {unit}: pass a whole number, {least} or more")


def check_path(path: object, name: str, mend: str, error: type[VideoX2LError] = SettingsError) -> None:
    """Refuse what is not a path, and the empty one, which would be the current directory; see `check_kind`."""
    check_kind(path, str | os.PathLike, name, mend, error)
    if not str(path).strip():
        raise error(f"{name} is an empty text: pass {mend}")


def check_video_path(path: object) -> None:
    """Refuse what can't be the path of a video. Raises: VideoError."""
    check_path(path, "the video", "the path of a video or image folder", VideoError)
    if re.match(r"\w+:/", str(path)) and not os.path.exists(str(path)):
        raise VideoError(f"{path} is an address on the web: download the video first, and pass its file")


def check_question(question: object) -> None:
    """Raises: QuestionError if there is nothing asked."""
    check_kind(question, str, "a question", "text", QuestionError)
    if not str(question).strip():
        raise QuestionError("the question is empty: ask something about the video")


def check_text(text: object) -> None:
    """Raises: QuestionError if there is nothing to look for."""
    check_kind(text, str, "what to look for", "text", QuestionError)
    if not str(text).strip():
        raise QuestionError('there is nothing to look for: name what the moments should show, such as "orange heart"')
