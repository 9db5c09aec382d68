"""A user's own questions about their own videos: a file with a JSON object a line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from hashlib import blake2b
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from videox2l.errors import SettingsError
from videox2l.evaluation.question_set import AskedVideo, Item, QuestionSet, option_of_text, words

OTHER_NAMES = {"gt": "answer", "type": "task", "needle_time": "times"}
"""What VNBench, and with it `videox2l synth`, calls a field, and what it is called here."""

OWN_LETTER = re.compile(r"^(\([A-Z]\)|[A-Z][.:)])\s*")
"""The letter that some data sets write before an option."""

Row = dict[str, Any]


def read_questions(file: str | Path, show_options: bool = True) -> QuestionSet:
    """The questions of a file, by video.

    A line is a JSON object with these fields; others are ignored, and so are empty lines.

    video: the path of a video file or a folder of images, from the file's own directory.
    question: the question.
    options: what to choose from, 2 to 26 texts. Without them the answer is free.
    answer: the right answer; of a question with options its text, its letter, or its place as a number from 0.
    task: a name for the group of questions that it is counted in; without one it is "all".
    times: when the video shows what the answer hangs on, a list of seconds; recall is measured by it.

    show_options: whether the model is told the options. If not, it must give the answer's own words.
    Raises: SettingsError that names the line and what is wrong with it.
    """
    file = Path(file)
    try:
        content = file.read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise SettingsError(f"{file} can't be read ({error.strerror}): pass a file of questions") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is not UTF-8 text ({error}): pass a file with a JSON object a line") from error
    items: dict[str, list[Item]] = {}
    paths: dict[str, Path] = {}
    repeated = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_row(line)
            name = os.path.normpath(text_of(row, "video"))
            path = file.parent / name
            if not path.exists():
                raise SettingsError(f"there is no video {path}: write its path relative to {file.name}")
            item = item_of(row, show_options)
        except SettingsError as error:
            raise SettingsError(f"{file}, line {number}: {error}") from error
        paths[name] = path
        if item in items.setdefault(name, []):
            repeated += 1
        else:
            items[name].append(item)
    if not items:
        raise SettingsError(f"{file} holds no questions: write a JSON object a line")
    videos = tuple(
        AskedVideo(name, identity(name, paths[name]), tuple((item,) for item in asked), at_hand(paths[name]))
        for name, asked in items.items()
    )
    count = f"{len(videos)} video{'s' if len(videos) > 1 else ''}"
    return QuestionSet(
        videos,
        mean_tasks=tuple(dict.fromkeys(item.task for asked in items.values() for item in asked)),
        name=f"{file.name}, {count}",
        about={
            "questions": {
                "file": file.name,
                "digest": blake2b(content, digest_size=16).hexdigest(),
                "options_shown": show_options,
            }
        },
        notes=(f"lines that repeat another one were left out: {repeated}",) if repeated else (),
    )


def at_hand(path: Path) -> Callable[[], AbstractContextManager[Path]]:
    """A file that is there before and after."""
    return lambda: nullcontext(path)


def identity(name: str, path: Path) -> str:
    """What tells a video, and a state of it, from others."""
    stat = path.stat()
    return f"{name} {stat.st_size} {stat.st_mtime_ns}"


def parse_row(line: str) -> Row:
    """A line's fields, by our own names."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SettingsError(f"it is not JSON ({error}): write one object a line") from error
    if not isinstance(row, dict):
        raise SettingsError(f"it holds {json.dumps(row)[:40]} and not an object: write {{...}} with its fields")
    for other, ours in OTHER_NAMES.items():
        if row.get(ours) is None and row.get(other) is not None:
            row[ours] = row[other]
    return row


def item_of(row: Row, show_options: bool) -> Item:
    """The question of a row. Raises: SettingsError."""
    question = text_of(row, "question")
    task = text_of(row, "task") if row.get("task") is not None else "all"
    times_s = field(row, "times", is_times, "a list of seconds") if "times" in row else ()
    if row.get("options") is None:
        return Item(task, question, free_answer(row), times_s=tuple(times_s))
    texts = field(row, "options", is_options, "a list of 2 to 26 different texts")
    options = tuple(without_letters([text.strip() for text in texts]))
    right = right_option(row, options)
    if show_options:
        return Item.multiple_choice(task, question, options, right, tuple(times_s))
    return Item(task, question, with_words(options[right]), times_s=tuple(times_s))


def free_answer(row: Row) -> str:
    """The answer of a question without options."""
    answer = field(row, "answer", lambda value: isinstance(value, str | int | float), "a text or a number")
    return with_words(answer if isinstance(answer, str) else f"{answer:g}")


def with_words(answer: str) -> str:
    """An answer that can be compared word for word. Raises: SettingsError for one that has no words."""
    if not words(answer):
        raise SettingsError(f"its answer {answer!r} has no words, and answers are compared by their words: write some")
    return answer


def right_option(row: Row, options: tuple[str, ...]) -> int:
    """The place of the right option: by its text, else by its letter or place."""
    answer = field(row, "answer", lambda value: isinstance(value, str | int), "a text, a letter or a number")
    by_text = option_of_text(str(answer), options)
    if isinstance(answer, int):
        if not 0 <= answer < len(options):
            raise SettingsError(f"its answer {answer} is not the place of an option: write 0 to {len(options) - 1}")
        if by_text not in (None, answer):
            raise SettingsError(f'its answer {answer} may be a place or a text: write "{answer}" or the letter')
        return answer
    if by_text is None:
        by_text = option_of_text(OWN_LETTER.sub("", answer), options)
    if by_text is not None:
        return by_text
    letter = answer.strip().upper()
    if letter in ascii_uppercase[: len(options)] and len(letter) == 1:
        return ascii_uppercase.index(letter)
    raise SettingsError(f"its answer {answer!r} is none of its options: write one's text, letter or place")


def without_letters(options: list[str]) -> list[str]:
    """Options without the letters that a data set has written before them: "A. a dog" is "a dog"."""
    bare = [OWN_LETTER.sub("", option) for option in options]
    lettered = zip(ascii_uppercase, options, bare, strict=False)
    return bare if all(text and option.lstrip("(")[0] == letter for letter, option, text in lettered) else options


def text_of(row: Row, name: str) -> str:
    """A field that is a text with something in it."""
    text: str = field(row, name, lambda value: isinstance(value, str) and bool(value.strip()), "a text")
    return text


def field(row: Row, name: str, is_good: Callable[[Any], bool], needed: str) -> Any:
    """A field's value. Raises: SettingsError if it is not there or not what is needed."""
    value = row.get(name)
    if value is None:
        raise SettingsError(f"it has no {name!r}: give it {needed}")
    if isinstance(value, bool) or not is_good(value):
        raise SettingsError(f"its {name!r} is {json.dumps(value)[:60]}: give it {needed}")
    return value


def is_options(value: Any) -> bool:
    """Whether options can be told apart and lettered."""
    if not (isinstance(value, list) and 2 <= len(value) <= len(ascii_uppercase)):
        return False
    texts = {text.strip() for text in value if isinstance(text, str)}
    return all(texts) and len(texts) == len(value)


def is_times(value: Any) -> bool:
    """Whether a value is a list of seconds."""
    return isinstance(value, list) and all(
        isinstance(time_s, int | float) and not isinstance(time_s, bool) and time_s >= 0 for time_s in value
    )
