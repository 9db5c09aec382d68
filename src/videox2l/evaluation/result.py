"""What an evaluation found: accuracies with intervals, priors, cache sizes, recall, paired differences."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from videox2l.evaluation.answers_file import GivenAnswer
from videox2l.evaluation.intervals import Estimate, mean_accuracy, mean_difference, wilson
from videox2l.evaluation.question_set import QuestionSet
from videox2l.evaluation.settings import Setting
from videox2l.synthesis.questions import final_answer
from videox2l.synthesis.unknown import UNKNOWN_ANSWER
from videox2l.version import __version__
from videox2l.video import Sampling


@dataclass(frozen=True, kw_only=True)
class Outcome(GivenAnswer):
    """A given answer, and whether it is right.

    video: its number. task, truth: of the question.
    """

    video: int
    task: str
    truth: str
    is_right: bool


@dataclass(frozen=True)
class SettingResult:
    """All questions in one setting. mean_tasks: those of the tasks over which the accuracy is averaged."""

    setting: Setting
    outcomes: tuple[Outcome, ...]
    mean_tasks: tuple[str, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks asked, in the order they first came."""
        return tuple(dict.fromkeys(outcome.task for outcome in self.outcomes))

    @property
    def cache_tokens(self) -> float:
        """Mean tokens in the cache, the prompt included."""
        return float(np.mean([outcome.cache_tokens for outcome in self.outcomes]))

    @property
    def times_smaller(self) -> float:
        """How many times smaller the cache is than the full one."""
        return float(np.mean([outcome.full_cache_tokens for outcome in self.outcomes])) / self.cache_tokens

    def of(self, task: str) -> list[Outcome]:
        """The outcomes of one task."""
        return [outcome for outcome in self.outcomes if outcome.task == task]

    def accuracy(self, task: str) -> Estimate:
        """Share of a task's questions answered right."""
        outcomes = self.of(task)
        return wilson(sum(outcome.is_right for outcome in outcomes), len(outcomes))

    def within_one(self, task: str) -> Estimate:
        """Share of a task's questions answered by a number that is the right one or next to it."""
        outcomes = self.of(task)
        pairs = [(number(outcome.text), number(outcome.truth)) for outcome in outcomes]
        near = sum(given is not None and truth is not None and abs(given - truth) <= 1 for given, truth in pairs)
        return wilson(near, len(outcomes))

    @property
    def refused(self) -> Estimate:
        """Share of the questions that have an answer in the video and were answered "I don't know"."""
        outcomes = [outcome for outcome in self.outcomes if outcome.truth != UNKNOWN_ANSWER]
        refused = (outcome.text.lower().startswith(UNKNOWN_ANSWER.lower()) for outcome in outcomes)
        return wilson(sum(refused), len(outcomes))

    def prior(self, task: str) -> float:
        """Accuracy of always giving the task's most frequent answer."""
        outcomes = self.of(task)
        return Counter(outcome.truth for outcome in outcomes).most_common(1)[0][1] / len(outcomes)

    def recall(self, task: str) -> dict[str, float]:
        """The oracle's mean recalls over the questions of a task that hang on a needle."""
        return _mean_recall(self.of(task))

    @property
    def mean_accuracy(self) -> Estimate:
        """Mean accuracy over the mean's tasks."""
        return mean_accuracy(*self.counts())

    @property
    def mean_recall(self) -> dict[str, float]:
        """Mean recalls over the questions of the mean's tasks."""
        return _mean_recall([outcome for outcome in self.outcomes if outcome.task in self.mean_tasks])

    @property
    def equal_levels(self) -> tuple[int, ...]:
        """The one level, or for several videos the different ones, that it took to be of another setting's size."""
        return tuple(sorted({outcome.level for outcome in self.outcomes if outcome.level is not None}))

    @property
    def index_s(self) -> float:
        """Seconds that indexing all videos took; an index that several settings share counts in full for each."""
        return sum({outcome.video: outcome.index_s for outcome in self.outcomes}.values())

    @property
    def ask_s(self) -> float:
        """Seconds that all questions took."""
        return sum(outcome.ask_s for outcome in self.outcomes)

    @property
    def prefill_s(self) -> float:
        """Seconds of these in which chunks or frames were prefilled anew."""
        return sum(outcome.prefill_s for outcome in self.outcomes)

    @property
    def ratios(self) -> dict[str, float]:
        """The real compression ratio at each level that was read, mean over the questions, by the level's name."""
        levels = dict.fromkeys(level for outcome in self.outcomes for level in outcome.ratios)
        return {
            level: float(np.mean([outcome.ratios[level] for outcome in self.outcomes if level in outcome.ratios]))
            for level in levels
        }

    def difference(self, other: SettingResult) -> Estimate:
        """By how much the mean exceeds another setting's, on the same questions."""
        right, asked = self.counts()
        return mean_difference(right, other.counts()[0], asked)

    def counts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Questions answered right, and asked, by video and task of the mean: (videos, tasks)."""
        tasks = self.mean_tasks
        right = np.zeros((1 + max(outcome.video for outcome in self.outcomes), len(tasks)))
        asked = np.zeros_like(right)
        for outcome in self.outcomes:
            if outcome.task in tasks:
                place = outcome.video, tasks.index(outcome.task)
                right[place] += outcome.is_right
                asked[place] += 1
        return right, asked

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            **self.setting.to_json(),
            **({"equal_levels": list(self.equal_levels)} if self.equal_levels else {}),
            "cache_tokens": round(self.cache_tokens, 1),
            "times_smaller": round(self.times_smaller, 2),
            "ratios": {level: round(ratio, 2) for level, ratio in self.ratios.items()},
            "tasks": {
                task: {**_rounded(self.accuracy(task)), "recall": _rounded_recall(self.recall(task))}
                for task in self.tasks
            },
            "refused": _rounded(self.refused) if set(self.tasks) != {"unknown"} else None,
            "count_within_one": _rounded(self.within_one("count")) if "count" in self.tasks else None,
            "mean": {**_rounded(self.mean_accuracy), "recall": _rounded_recall(self.mean_recall)},
            "index_s": round(self.index_s, 2),
            "ask_s": round(self.ask_s, 2),
            "prefill_s": round(self.prefill_s, 2),
        }


@dataclass(frozen=True)
class EvaluationResult:
    """Every setting on the same videos and questions; the first setting is the one the others are compared with."""

    model: str
    model_fingerprint: str
    questions: QuestionSet
    sampling: Sampling
    settings: tuple[SettingResult, ...]

    def __getitem__(self, name: str) -> SettingResult:
        """The result of the setting of a name."""
        return next(result for result in self.settings if result.setting.name == name)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the questions, and every different note that came with the answers."""
        videos = self.questions.videos
        given = (
            f"{videos[outcome.video].name}: {note}"
            for result in self.settings
            for outcome in result.outcomes
            for note in outcome.notes
        )
        return (*self.questions.notes, *dict.fromkeys(given))

    def to_json(self) -> dict[str, Any]:
        """The object that `videox2l eval --json` prints."""
        first = self.settings[0]
        return {
            "versions": {"videox2l": __version__, "torch": torch.__version__, "av": av.__version__},
            "model": self.model,
            "model_fingerprint": self.model_fingerprint,
            "videos": len(self.questions.videos),
            **self.questions.about,
            "sampling": asdict(self.sampling),
            "notes": list(self.notes),
            "tasks": {
                task: {"asked": len(first.of(task)), "prior": round(first.prior(task), 4)} for task in first.tasks
            },
            "mean_tasks": list(first.mean_tasks),
            "full_cache_tokens": round(first.cache_tokens * first.times_smaller, 1),
            "settings": [result.to_json() for result in self.settings],
            "differences": [
                {"of": one.setting.name, "against": other.setting.name, **_rounded(one.difference(other))}
                for place, other in enumerate(self.settings)
                for one in self.settings[place + 1 :]
            ],
        }


def _mean_recall(outcomes: list[Outcome]) -> dict[str, float]:
    found = [outcome.recall for outcome in outcomes if outcome.recall]
    return {name: float(np.mean([recall[name] for recall in found])) for name in (found[0] if found else ())}


def _rounded_recall(recall: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in recall.items()}


def _rounded(estimate: Estimate) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in asdict(estimate).items()}


def number(text: str) -> int | None:
    """The number that an answer comes to; None if it is none."""
    answer = final_answer(text)
    return int(answer) if answer.isdecimal() else None
