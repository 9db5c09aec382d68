"""Plan needle videos: every video's script and questions follow from the settings, the seed and its number alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from videox2l.errors import SettingsError
from videox2l.synthesis.footage import Footage
from videox2l.synthesis.questions import LAST_TIME_S, TASKS, Question, questions_for
from videox2l.synthesis.world import VideoScript, sample_script
from videox2l.synthesis.writer import VideoFormat, write_video

SHORTEST_S = 4.0
LONGEST_MINUTES = 24 * 60
MOST_NEEDLES = 10
"""In ten seconds; more do not always find a corner and a second of their own."""


@dataclass(frozen=True)
class NeedleSettings:
    """What needle videos are made of.

    minutes: length of each. seed: of all chance. format: rate and size. needles: fewest and most in ten seconds.
    haystacks: videos to lay the needles over, taken in turn; without one the scenes are procedural.
    questions: of each task, per video. tasks: which kinds of question.
    Raises: SettingsError for what can't be made.
    """

    minutes: float = 1.0
    seed: int = 0
    format: VideoFormat = field(default_factory=VideoFormat)
    needles: tuple[int, int] = (2, 5)
    haystacks: tuple[Path, ...] = ()
    questions: int = 1
    tasks: tuple[str, ...] = TASKS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.minutes) and self.minutes > 0):
            raise SettingsError(f"minutes={self.minutes:g} is not a length: pass a number above 0")
        if self.minutes > LONGEST_MINUTES:
            raise SettingsError(f"minutes={self.minutes:g} is longer than a day: pass {LONGEST_MINUTES} or less")
        if self.duration_s < SHORTEST_S:
            raise SettingsError(
                f"minutes={self.minutes:g} is {self.duration_s:g} s, too short for needles of up to 3 s: pass "
                f"{SHORTEST_S / 60:.3f} or more"
            )
        fewest, most = self.needles
        if not 1 <= fewest <= most <= MOST_NEEDLES:
            raise SettingsError(
                f"needles={fewest},{most} can't fit into ten seconds: pass fewest and most, from 1 to {MOST_NEEDLES}"
            )
        if self.questions < 1:
            raise SettingsError(f"questions={self.questions} of each task is too few: pass 1 or more")
        if unknown := [task for task in self.tasks if task not in TASKS]:
            raise SettingsError(f"task {unknown[0]!r} is unknown: pass some of {', '.join(TASKS)}")

    @property
    def duration_s(self) -> float:
        """Length of each video in seconds, in whole frames."""
        rate = self.format.rate
        return float(self.format.frames(60 * self.minutes) / rate)


@dataclass(frozen=True)
class NeedleVideo:
    """One video to be written: number, script, questions with their truth, and where its footage starts."""

    number: int
    script: VideoScript
    questions: tuple[Question, ...]
    footage: Footage | None
    footage_start_s: float

    @property
    def name(self) -> str:
        """Its file name."""
        return f"needles-{self.number:05d}.mp4"

    def write(self, path: Path, video_format: VideoFormat, progress: Callable[[int], None] = lambda _: None) -> None:
        """Render it into an mp4 file; see `write_video`."""
        background = self.footage.frames(float(video_format.rate), self.footage_start_s) if self.footage else None
        write_video(path, self.script, video_format, background, progress)


class NeedlePlan:
    """Videos by number, as settings describe them.

    notes: what the user should know before they are made.
    Raises: VideoError if a haystack can't be read.
    """

    def __init__(self, settings: NeedleSettings):
        self.settings = settings
        self.footage = [Footage.open(path) for path in settings.haystacks]
        self.notes = self._notes()

    def video(self, number: int) -> NeedleVideo:
        """The video of a number; the same whatever else is made."""
        settings = self.settings
        # Seeded by text: a stream of chance that no integer seed, as training uses, can give.
        rng = random.Random(f"needles {settings.seed} {number}")
        script = sample_script(rng, settings.duration_s, events_per_block=settings.needles, scenery=not self.footage)
        footage = self.footage[number % len(self.footage)] if self.footage else None
        start_s = footage.start_for(rng, settings.duration_s) if footage else 0.0
        questions = questions_for(script, rng, per_task=settings.questions, tasks=settings.tasks)
        return NeedleVideo(number, script, tuple(questions), footage, start_s)

    def _notes(self) -> tuple[str, ...]:
        duration_s = self.settings.duration_s
        notes = [
            f"{footage.path.name} is repeated: it lasts {footage.duration_s:.1f} s, and the videos {duration_s:.1f} s"
            for footage in self.footage
            if footage.duration_s < duration_s
        ]
        if self.footage and "global" in self.settings.tasks:
            notes.append(
                "questions of the task global are left out: they ask about generated scenes, and yours are real footage"
            )
        if duration_s > LAST_TIME_S:
            notes.append(f"the questions are about needles in the first {LAST_TIME_S // 60} minutes only")
        return tuple(notes)
