"""What an evaluation asks: questions with their truth about videos, and what counts as a right answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Self

OPTION_REQUEST = "Answer with the option's letter from the given choices directly."
LETTER = re.compile(
    r"\W*(?:(?:the )?(?:correct |best )?(?:answer|option|choice)(?: is)?\s*:?\s*)?\W*([A-Z])(?:[).:,*\n]|\s*$)",
    re.IGNORECASE,
)
"""How an answer that names a letter begins: "B", "(B) the dog", "b.", "**B**", "The correct answer is: B"."""


@dataclass(frozen=True)
class Item:
    """A question with its truth.

    task: the group of questions that it is counted in.
    text: what the model is asked, with the options if there are any.
    truth: the right answer; of a question with options, the letter of the right one.
    options: what the text offers, A first; empty where the answer is free.
    times_s: when the video shows what the answer hangs on, in seconds; empty where no moment matters or none is known.
    """

    task: str
    text: str
    truth: str
    options: tuple[str, ...] = ()
    times_s: tuple[float, ...] = ()

    @classmethod
    def multiple_choice(
        cls, task: str, question: str, options: tuple[str, ...], right: int, times_s: tuple[float, ...] = ()
    ) -> Self:
        """A question that offers its options by letter. right: the place of the right one, from 0."""
        offered = [f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]
        return cls(task, "\n".join([question, *offered, OPTION_REQUEST]), ascii_uppercase[right], options, times_s)

    def is_right(self, answer: str) -> bool:
        """Whether an answer names the right option, or is word for word the truth where there are none."""
        if self.options:
            return chosen_option(answer, self.options) == self.truth
        return words(answer) == words(self.truth)


@dataclass(frozen=True)
class AskedVideo:
    """A video and what is asked about it.

    name: for display.
    identity: text that no other video, and no other state of this one, has; answers are kept under it.
    conversations: the questions, each with those that are asked before it and stay in the context.
    at_hand: the file, for as long as it is needed.
    """

    name: str
    identity: str
    conversations: tuple[tuple[Item, ...], ...]
    at_hand: Callable[[], AbstractContextManager[Path]]

    @property
    def items(self) -> tuple[Item, ...]:
        """All questions."""
        return tuple(item for conversation in self.conversations for item in conversation)


@dataclass(frozen=True)
class QuestionSet:
    """All that is asked in an evaluation.

    videos: with their questions.
    mean_tasks: the tasks that settings are compared by: over these their accuracy is averaged.
    name: what it is, for display: "60 fresh videos of 100 s, seed 7000".
    about: the same as plain data.
    notes: what the user should know of it.
    """

    videos: tuple[AskedVideo, ...]
    mean_tasks: tuple[str, ...]
    name: str
    about: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def words(text: str) -> list[str]:
    """What of an answer counts: its words, numbers and times, in lower case."""
    return re.findall(r"[\w:]+", text.lower())


def chosen_option(answer: str, options: tuple[str, ...]) -> str | None:
    """The letter of the option that an answer chooses, None where it can't be told.

    It is the option whose words the answer is; else the one whose letter it begins with, alone or before a sign, as in
    "B", "(b) a dog" or "The answer is B."; else the only option whose words stand in it, an option within a longer one
    not counted.
    """
    if (place := option_of_text(answer, options)) is not None:
        return ascii_uppercase[place]
    if (match := LETTER.match(answer)) and (letter := match[1].upper()) in ascii_uppercase[: len(options)]:
        return letter
    said, offered = words(answer), [words(option) for option in options]
    mentioned = [place for place, option in enumerate(offered) if stands_in(option, said)]
    longest = [
        place
        for place in mentioned
        if not any(other != place and stands_in(offered[place], offered[other]) for other in mentioned)
    ]
    return ascii_uppercase[longest[0]] if len(longest) == 1 else None


def option_of_text(text: str, options: tuple[str, ...]) -> int | None:
    """The place of the option that a text is, sign for sign or, where only one is, word for word."""
    if text.strip() in options:
        return options.index(text.strip())
    same = [place for place, option in enumerate(options) if words(option) == words(text) != []]
    return same[0] if len(same) == 1 else None


def stands_in(part: list[str], whole: list[str]) -> bool:
    """Whether words stand among others, one after the other."""
    return bool(part) and any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))
