"""Measure on fresh needle videos: written as mp4, read back by the decoder, indexed and asked in every setting."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from videox2l.answering.generation import Generation
from videox2l.engine import VideoX2L
from videox2l.errors import SettingsError
from videox2l.evaluation.answers_file import AnswersFile
from videox2l.evaluation.evaluate import EvaluationProgress, evaluate
from videox2l.evaluation.question_set import AskedVideo, Item, QuestionSet
from videox2l.evaluation.result import EvaluationResult
from videox2l.evaluation.settings import Setting
from videox2l.store import RamStore
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings, NeedleVideo
from videox2l.synthesis.questions import Question, final_answer
from videox2l.synthesis.writer import VideoFormat
from videox2l.video import Sampling

DETAIL_TASKS = ("attribute", "where", "when", "exist")
"""Tasks that hang on one needle's details: the mean over these is what settings are compared by."""

GENERATION = Generation(max_new_tokens=96)
"""Answers have up to three words; models may state before how they come to them, a count its moments."""


@dataclass(frozen=True)
class NeedleItem(Item):
    """A question about a needle video: what counts is what an answer comes to, behind its reasons."""

    def is_right(self, answer: str) -> bool:
        """Whether the final answer is word for word the truth."""
        return super().is_right(final_answer(answer))


@dataclass(frozen=True)
class NeedleEvaluation:
    """What is measured on.

    videos: how many. needles: what they and their questions are like; questions of each task are asked per video.
    sampling: which frames are looked at.
    turns: questions in a conversation, whose earlier turns stay in the context with the answers that were given; 1 by
        default: each question is asked alone. From 2 on a video's questions come in mixed order.
    """

    videos: int = 60
    needles: NeedleSettings = field(
        default_factory=lambda: NeedleSettings(minutes=100 / 60, seed=0, format=VideoFormat(fps=2), questions=5)
    )
    sampling: Sampling = field(default_factory=Sampling)
    turns: int = 1

    def __post_init__(self) -> None:
        if self.videos < 1:
            raise SettingsError(f"videos={self.videos} is too few: pass 1 or more")
        if self.turns < 1:
            raise SettingsError(f"turns={self.turns} is too few: pass 1 or more")

    def conversations(self, video: NeedleVideo) -> list[tuple[Question, ...]]:
        """A video's questions as they are asked, turn by turn; the last conversation may be shorter."""
        questions = list(video.questions)
        if self.turns > 1:
            random.Random(f"turns {self.needles.seed} {video.number}").shuffle(questions)
        return [tuple(questions[start : start + self.turns]) for start in range(0, len(questions), self.turns)]


def evaluate_needles(
    engine: VideoX2L,
    settings: tuple[Setting, ...] | None = None,
    evaluation: NeedleEvaluation | None = None,
    progress: Callable[[EvaluationProgress], None] = lambda _: None,
    kept: AnswersFile | None = None,
    at_once: int = 8,
) -> EvaluationResult:
    """Ask the same questions about the same fresh videos in every setting; see `evaluate`.

    Videos and indexes are deleted as soon as they are done with.
    Raises: SettingsError, VideoError, ModelError, StoreError.
    """
    evaluation = evaluation or NeedleEvaluation()
    with tempfile.TemporaryDirectory(prefix="videox2l-needles-") as directory:
        return evaluate(
            replace(engine, store=RamStore()),
            needle_questions(evaluation, Path(directory)),
            settings,
            sampling=evaluation.sampling,
            generation=GENERATION,
            kept=kept,
            at_once=at_once,
            progress=progress,
        )


def needle_questions(evaluation: NeedleEvaluation, directory: Path) -> QuestionSet:
    """The questions about needle videos, which are in the directory while they are asked about."""
    needles = evaluation.needles
    plan = NeedlePlan(needles)
    about = asdict(needles) | {"haystacks": [path.name for path in needles.haystacks]}
    footage = [clip.fingerprint for clip in plan.footage]

    @contextmanager
    def written(video: NeedleVideo) -> Iterator[Path]:
        file = directory / video.name
        video.write(file, needles.format)
        yield file
        file.unlink()

    def asked(video: NeedleVideo) -> AskedVideo:
        identity = json.dumps([about, footage, video.number], default=str)
        conversations = tuple(
            tuple(NeedleItem(q.task, q.text, q.answer, times_s=q.needle_times_s) for q in questions)
            for questions in evaluation.conversations(video)
        )
        return AskedVideo(video.name, identity, conversations, partial(written, video))

    videos = tuple(asked(plan.video(number)) for number in range(evaluation.videos))
    asked_in = f", asked in conversations of {evaluation.turns} turns" if evaluation.turns > 1 else ""
    tasks = dict.fromkeys(item.task for video in videos for item in video.items)
    return QuestionSet(
        videos,
        mean_tasks=tuple(task for task in DETAIL_TASKS if task in tasks) or tuple(tasks),
        name=f"{evaluation.videos} fresh videos of {needles.duration_s:.0f} s, seed {needles.seed}{asked_in}",
        about={"needles": about, "turns": evaluation.turns},
        notes=plan.notes,
    )
