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
from videox2l.synthesis.questions import Question
from videox2l.synthesis.writer import VideoFormat
from videox2l.times import clock

VIDEO, TIMELINE, REPORT = "needles.mp4", "timeline.png", "demo.json"


@dataclass(frozen=True)
class DemoSettings:
    """What is demonstrated on.

    seed: of the video and its questions; 0 by default.
    duration_s: the video's length in seconds; 100 by default.
    format: its frame rate and size in pixels; 8 frames a second of 320 x 240 by default.
    """

    seed: int = 0
    duration_s: float = 100.0
    format: VideoFormat = field(default_factory=lambda: VideoFormat(fps=8, width=320, height=240))


@dataclass(frozen=True)
class DemoAnswer:
    """One question of the demonstration.

    needle_times_s: when what it asks about appears. moments_s: start and end of what was chosen to be read in full
    detail, the most relevant first.
    """

    task: str
    question: str
    answer: str
    truth: str
    is_right: bool
    needle_times_s: tuple[float, ...]
    moments_s: tuple[tuple[float, float], ...]
    cache_tokens: int
    seconds: float


@dataclass(frozen=True)
class Demo:
    """What the demonstration gave, and where its files lie: the video, the timeline of one answer, this as JSON."""

    directory: Path
    model: str
    duration_s: float
    index_s: float
    full_cache_tokens: int
    answers: tuple[DemoAnswer, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that `videox2l demo --json` prints and demo.json holds."""
        values = asdict(self) | {"directory": str(self.directory), "index_s": round(self.index_s, 3)}
        return values | {"video": VIDEO, "timeline": TIMELINE}


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
    needles = NeedleSettings(settings.duration_s / 60, settings.seed, settings.format)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"can't write to {directory} ({error.strerror}): choose another place") from error
    video = NeedlePlan(needles).video(0)
    progress(f"writing {directory / VIDEO}: {settings.duration_s:g} s with {len(video.script.events)} needles")
    video.write(directory / VIDEO, settings.format)
    progress(f"indexing it with {engine.model.name}")
    index = engine.index(directory / VIDEO)
    progress("asking")
    asked = [(question, engine.ask(index, question.text, generation=GENERATION)) for question in video.questions]
    answers = tuple(describe(question, answer) for question, answer in asked)
    asked[0][1].plot(directory / TIMELINE)  # the first task's answer hangs on one needle
    demo = Demo(directory, engine.model.name, index.duration_s, index.seconds, index.full_tokens, answers)
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
        moments_s=tuple((chunk.start_s, chunk.end_s) for chunk in answer.moments),
        cache_tokens=answer.cache_tokens,
        seconds=round(sum(answer.timings_s.values()), 4),
    )


def demo_table(demo: Demo) -> Table:
    """The demonstration for people, to print with rich."""
    table = Table(title=f"{demo.model} on {demo.directory / VIDEO}", title_justify="left")
    for name in ("question", "answer", "truth", "needle at", "read in detail", "cache"):
        table.add_column(name, overflow="fold")
    for each in demo.answers:
        table.add_row(
            each.question,
            Text(each.answer, "green" if each.is_right else "red"),
            each.truth,
            ", ".join(map(clock, each.needle_times_s)) or "-",
            ", ".join(f"{clock(start_s)}-{clock(end_s)}" for start_s, end_s in each.moments_s),
            f"{each.cache_tokens} of {demo.full_cache_tokens}",
        )
    return table
