"""Measure on fresh needle videos: written as mp4, read back by the decoder, indexed and asked in every setting."""

from __future__ import annotations

import json
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
from videox2l.synthesis.writer import VideoFormat
from videox2l.video import Sampling

DETAIL_TASKS = ("attribute", "where", "when", "exist")
"""Tasks that hang on one needle's details: the mean over these is what settings are compared by."""

GENERATION = Generation(max_new_tokens=16)
"""Answers have up to three words."""


@dataclass(frozen=True)
class NeedleEvaluation:
    """What is measured on.

    videos: how many. needles: what they and their questions are like; questions of each task are asked per video.
    sampling: which frames are looked at.
    """

    videos: int = 60
    needles: NeedleSettings = field(
        default_factory=lambda: NeedleSettings(minutes=100 / 60, seed=0, format=VideoFormat(fps=2), questions=5)
    )
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        if self.videos < 1:
            raise SettingsError(f"videos={self.videos} is too few: pass 1 or more")


def evaluate_needles(
    engine: VideoX2L,
    settings: tuple[Setting, ...] | None = None,
    evaluation: NeedleEvaluation | None = None,
    progress: Callable[[EvaluationProgress], None] = lambda _: None,
    kept: AnswersFile | None = None,
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
        items = tuple(Item(q.task, q.text, q.answer, times_s=q.needle_times_s) for q in video.questions)
        return AskedVideo(video.name, identity, items, partial(written, video))

    videos = tuple(asked(plan.video(number)) for number in range(evaluation.videos))
    tasks = dict.fromkeys(item.task for video in videos for item in video.items)
    return QuestionSet(
        videos,
        mean_tasks=tuple(task for task in DETAIL_TASKS if task in tasks) or tuple(tasks),
        name=f"{evaluation.videos} fresh videos of {needles.duration_s:.0f} s, seed {needles.seed}",
        about={"needles": about},
        notes=plan.notes,
    )
