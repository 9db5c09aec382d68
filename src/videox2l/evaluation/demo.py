"""The demonstration: make a needle video, index it, ask one question of each kind, keep what it gave."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from videox2l.answering.answer import Answer
from videox2l.engine import VideoX2L
from videox2l.errors import StoreError
from videox2l.evaluation.needles import GENERATION
from videox2l.evaluation.question_set import words
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings
from videox2l.synthesis.questions import TASKS, Question
from videox2l.synthesis.writer import VideoFormat
from videox2l.times import clock
from videox2l.types import Moment

VIDEO, TIMELINE, REPORT = "needles.mp4", "timeline.png", "demo.json"

NOT_LEARNED = {
    "at": "what is shown at a time",
    "order": "what comes first",
    "count": "counts",
    "pair": "two moments at once",
    "unknown": "to say that it does not know",
}
"""Tasks that nano did not learn and that are not asked, in words."""


@dataclass(frozen=True)
class DemoSettings:
    """What is demonstrated on.

    seed: of the video and its questions; 0 by default.
    duration_s: the video's length in seconds; 100 by default.
    format: its frame rate and size in pixels; 8 frames a second of 320 x 240 by default.
    tasks: the kinds of question that are asked; by default those that nano learned.
    """

    seed: int = 0
    duration_s: float = 100.0
    format: VideoFormat = field(default_factory=lambda: VideoFormat(fps=8, width=320, height=240))
    tasks: tuple[str, ...] = tuple(task for task in TASKS if task not in NOT_LEARNED)


@dataclass(frozen=True)
class DemoAnswer:
    """One question of the demonstration.

    needle_times_s: when what it asks about appears. moments: where the answer came from, the best first.
    """

    task: str
    question: str
    answer: str
    truth: str
    is_right: bool
    needle_times_s: tuple[float, ...]
    moments: tuple[Moment, ...]
    cache_tokens: int
    seconds: float


@dataclass(frozen=True)
class Demo:
    """What the demonstration gave, and where its files lie: the video, the timeline of one answer, this as JSON.

    another_question: one that is not among the answers and that the model answers right; None if there is none.
    """

    directory: Path
    model: str
    duration_s: float
    index_s: float
    full_cache_tokens: int
    answers: tuple[DemoAnswer, ...]
    another_question: str | None

    def to_json(self) -> dict[str, Any]:
        """The object that `videox2l demo --json` prints and demo.json holds."""
        values = asdict(self) | {"directory": str(self.directory), "index_s": round(self.index_s, 3)}
        return values | {"video": VIDEO, "timeline": TIMELINE}

    @property
    def score(self) -> str:
        """How many answers are right, and what they were decoded from."""
        right, asked = sum(answer.is_right for answer in self.answers), len(self.answers)
        tokens = sum(answer.cache_tokens for answer in self.answers) / asked
        return (
            f"{right} of {asked} right, from {tokens:.0f} of {self.full_cache_tokens} tokens in the KV cache: "
            f"{self.full_cache_tokens / tokens:.1f}x smaller"
        )


def run_demo(
    engine: VideoX2L,
    out: str | Path,
    settings: DemoSettings | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Demo:
    """Write a needle video into a directory, index it and ask one question of each task.

    progress: called with a line about each step. Raises: SettingsError, StoreError if the directory can't be written.
    """
    settings, directory = settings or DemoSettings(), Path(out)
    needles = NeedleSettings(
        settings.duration_s / 60, settings.seed, settings.format, questions=2, tasks=settings.tasks
    )
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"can't write to {directory} ({error.strerror}): choose another place") from error
    video = NeedlePlan(needles).video(0)
    length, count = clock(settings.duration_s), len(video.script.events)
    progress(f"writing {directory / VIDEO}: {length} in which {count} shapes with a digit appear")
    video.write(directory / VIDEO, settings.format)
    progress(f"indexing it with {engine.model.name}, the small bundled model")
    index = engine.index(directory / VIDEO)

    def ask(question: Question) -> Answer:
        return engine.ask(index, question.text, generation=GENERATION)

    shown = {question.task: question for question in reversed(video.questions)}  # the first of each task
    asked = {task: (shown[task], ask(shown[task])) for task in settings.tasks if task in shown}
    answers = tuple(describe(question, answer) for question, answer in asked.values())
    others = (question for question in video.questions if question.text not in {each.question for each in answers})
    another = next((other.text for other in others if words(ask(other).text) == words(other.answer)), None)
    first, *_ = asked.values()
    first[1].plot(directory / TIMELINE)  # the first task's answer hangs on one needle
    demo = Demo(directory, engine.model.name, index.duration_s, index.seconds, index.full_tokens, answers, another)
    try:
        (directory / REPORT).write_text(json.dumps(demo.to_json(), indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise StoreError(f"can't write to {directory} ({error.strerror}): choose another place") from error
    return demo


def describe(question: Question, answer: Answer) -> DemoAnswer:
    """A question with its answer, truth, and where both come from."""
    return DemoAnswer(
        task=question.task,
        question=question.text,
        answer=answer.text,
        truth=question.answer,
        is_right=words(answer.text) == words(question.answer),
        needle_times_s=question.needle_times_s,
        moments=answer.moments,
        cache_tokens=answer.cache_tokens,
        seconds=round(sum(answer.timings_s.values()), 4),
    )


def demo_table(demo: Demo) -> Table:
    """The answers for people, to print with rich: marked, and with the truth where they are wrong."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("", "question", "answer", "shown at", "found at"):
        table.add_column(name, overflow="fold")
    for each in demo.answers:
        mark, colour = ("\N{CHECK MARK}", "green") if each.is_right else ("\N{BALLOT X}", "red")
        table.add_row(
            Text(mark, colour),
            each.question,
            Text(each.answer if each.is_right else f"{each.answer}, but it is {each.truth}", colour),
            ", ".join(map(clock, each.needle_times_s)) or "-",
            found_at(each.moments[0]) if each.moments and each.needle_times_s else "-",
        )
    return table


def found_at(moment: Moment) -> str:
    """A moment's best second; its span where none is known."""
    if moment.peak_s is not None:
        return clock(moment.peak_s)
    return f"{clock(moment.start_s)}-{clock(moment.end_s)}"
