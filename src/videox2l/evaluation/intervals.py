"""95% intervals: Wilson's for a proportion, a bootstrap over videos for a mean over tasks and for a difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
RESAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval; without bounds where too little was measured to give any."""

    value: float
    low: float | None
    high: float | None


def wilson(right: int, asked: int) -> Estimate:
    """A proportion with Wilson's score interval (JASA 22, 1927): sound for few questions and close to 0 or 1."""
    share = right / asked
    scale = 1 + Z * Z / asked
    centre = (share + Z * Z / (2 * asked)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / asked + Z * Z / (4 * asked * asked))
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half))


def mean_accuracy(right: NDArray[np.float64], asked: NDArray[np.float64]) -> Estimate:
    """Mean over tasks of the accuracy, with the bootstrap's percentile interval.

    right, asked: questions answered right, and asked, (videos, tasks). Whole videos are resampled, since the questions
    of one video share its index; a draw that lacks a task is not counted. With one video there are no bounds.
    """
    return _bootstrap(right, asked)


def mean_difference(right: NDArray[np.float64], other: NDArray[np.float64], asked: NDArray[np.float64]) -> Estimate:
    """Mean over tasks of the accuracy by which `right` exceeds `other` on the same questions, paired by video."""
    return _bootstrap(right - other, asked)


def _bootstrap(scores: NDArray[np.float64], asked: NDArray[np.float64]) -> Estimate:
    videos = len(scores)
    value = float(np.mean(scores.sum(0) / asked.sum(0)))
    if videos < 2:
        return Estimate(value, None, None)
    draws = np.random.default_rng(0).multinomial(videos, np.full(videos, 1 / videos), RESAMPLES)  # (resamples, videos)
    counts = draws @ asked  # (resamples, tasks)
    has_every_task = (counts > 0).all(axis=1)
    if not has_every_task.any():
        return Estimate(value, None, None)
    means = ((draws @ scores)[has_every_task] / counts[has_every_task]).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(value, float(low), float(high))
