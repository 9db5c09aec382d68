"""Measure on fresh needle videos: written as mp4, read back by the decoder, indexed and asked in every setting."""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from videox2l.answering.answer import Answer
from videox2l.answering.generation import Generation
from videox2l.engine import VideoX2L
from videox2l.errors import SettingsError
from videox2l.evaluation.needles_result import NeedlesResult, Outcome, SettingResult
from videox2l.evaluation.settings import Setting, check_settings, comparison, of_size
from videox2l.selection.top_k import TopK
from videox2l.store import open_store
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings, NeedleVideo
from videox2l.synthesis.questions import Question, final_answer
from videox2l.synthesis.writer import VideoFormat
from videox2l.video import Sampling

GENERATION = Generation(max_new_tokens=32)
"""Answers have up to three words; models may state before how they come to them, a count its moments."""


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
            raise SettingsError(f"videos={self.videos} is none: pass 1 or more")
        if self.turns < 1:
            raise SettingsError(f"turns={self.turns} are none: pass 1 or more")

    def conversations(self, video: NeedleVideo) -> list[tuple[Question, ...]]:
        """A video's questions as they are asked, turn by turn; the last conversation may be shorter."""
        questions = list(video.questions)
        if self.turns > 1:
            random.Random(f"turns {self.needles.seed} {video.number}").shuffle(questions)
        return [tuple(questions[start : start + self.turns]) for start in range(0, len(questions), self.turns)]


@dataclass(frozen=True)
class EvaluationProgress:
    """How far an evaluation is: the video in work of how many, and answers given of how many."""

    video: int
    videos: int
    answers: int
    total_answers: int


def evaluate_needles(
    engine: VideoX2L,
    settings: tuple[Setting, ...] | None = None,
    evaluation: NeedleEvaluation | None = None,
    progress: Callable[[EvaluationProgress], None] = lambda _: None,
) -> NeedlesResult:
    """Ask the same questions about the same fresh videos in every setting.

    engine: the model, with its encoder. settings: by default the engine's own and what it must beat; differences are
    measured against the first. Settings with the same compression share one index of each video; videos and indexes
    are deleted as soon as they are done with.
    Raises: SettingsError, VideoError, ModelError.
    """
    settings = comparison(Setting.of(engine), engine.encoder is not None) if settings is None else settings
    evaluation = evaluation or NeedleEvaluation()
    check_settings(settings, engine)
    plan = NeedlePlan(evaluation.needles)
    outcomes: dict[str, list[Outcome]] = {setting.name: [] for setting in settings}
    index_s: dict[str, float] = dict.fromkeys(outcomes, 0.0)
    ask_s: dict[str, float] = dict.fromkeys(outcomes, 0.0)
    answers = 0
    with tempfile.TemporaryDirectory(prefix="videox2l-needles-") as directory:
        for number in range(evaluation.videos):
            video = plan.video(number)
            total = answers + len(video.questions) * len(settings) * (evaluation.videos - number)
            progress(EvaluationProgress(number, evaluation.videos, answers, total))
            file = Path(directory) / video.name
            video.write(file, evaluation.needles.format)
            store, built_s = open_store("ram"), dict[str, float]()
            if number == 0:
                settings = tuple(sized(settings, replace(engine, store=store), file, evaluation.sampling))
            for setting in settings:
                setting_engine = setting.engine(replace(engine, store=store))
                index = setting_engine.index(file, evaluation.sampling)
                index_s[setting.name] += built_s.setdefault(index.key, index.seconds)
                started = time.perf_counter()
                for questions in evaluation.conversations(video):
                    chat = setting_engine.chat(index)
                    for question in questions:
                        answer = chat.ask(question.text, generation=GENERATION)
                        outcomes[setting.name].append(judge(answer, question, setting, number))
                        answers += 1
                        progress(EvaluationProgress(number, evaluation.videos, answers, total))
                ask_s[setting.name] += time.perf_counter() - started
            file.unlink()
    if not answers:
        raise SettingsError("these videos give no question of the tasks asked for: choose more tasks or shorter videos")
    return NeedlesResult(
        model=engine.model.name,
        model_fingerprint=engine.model.fingerprint,
        videos=evaluation.videos,
        needles=evaluation.needles,
        sampling=evaluation.sampling,
        turns=evaluation.turns,
        notes=plan.notes,
        settings=tuple(
            SettingResult(setting, tuple(outcomes[setting.name]), index_s[setting.name], ask_s[setting.name])
            for setting in settings
        ),
    )


def sized(settings: tuple[Setting, ...], engine: VideoX2L, file: Path, sampling: Sampling) -> Iterator[Setting]:
    """The settings, those that are to be as large as another one with the level that makes them so."""
    by_name: dict[str, Setting] = {}
    for setting in settings:
        if setting.same_size_as is not None:
            other = by_name[setting.same_size_as]
            setting = of_size(setting, other, other.engine(engine).index(file, sampling))
        by_name[setting.name] = setting
        yield setting


def judge(answer: Answer, question: Question, setting: Setting, video: int) -> Outcome:
    """Whether an answer is right, word for word, and whether the needles were found."""
    needles = {
        chunk.index
        for chunk in answer.chunks
        for time_s in question.needle_times_s
        if chunk.start_s <= time_s < chunk.end_s
    }
    found: dict[str, float] = {}
    if needles and setting.selects:
        scored = [(chunk.score, chunk.index) for chunk in answer.chunks if chunk.score is not None]
        ranked = [index for _, index in sorted(scored, key=lambda pair: -pair[0])]  # of equal scores the earlier first
        k = setting.selector.k if isinstance(setting.selector, TopK) else 1
        read = {f"@{best}": ranked[:best] for best in sorted({1, k} - {0})} if scored else {}
        finest = setting.compressor.levels[0]
        # two_pass keeps the first and last chunk fine at every level
        fine = [chunk for chunk in answer.chunks if chunk.level == finest or (chunk.ratio or finest + 1) <= finest]
        read["in_detail"] = [chunk.index for chunk in fine]
        found = {name: len(needles.intersection(chunks)) / len(needles) for name, chunks in read.items()}
    return Outcome(
        video=video,
        task=question.task,
        truth=question.answer,
        text=answer.text,
        is_right=words(answer.text) == words(question.answer),
        recall=found,
        cache_tokens=answer.cache_tokens,
        full_cache_tokens=answer.full_cache_tokens,
    )


def words(text: str) -> list[str]:
    """What of an answer counts: the words, numbers and times of its last part (`final_answer`), in lower case."""
    return re.findall(r"[\w:]+", final_answer(text).lower())
