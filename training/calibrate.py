"""Fit the probability that a frame shows what was asked for to the cosines of a contrastive head.

    python -m training.calibrate [--model nano] [--videos 20] [--seed 9100] [--tasks attribute,where,...]

Fresh needle videos are asked about. The best frame while a needle is shown is a match; the best of all others, of a
needle that is never shown, and of questions that no moment answers, is none. The logistic that separates them is
written to the head's config.json, as "match".
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from videox2l import VideoX2L
from videox2l.oracles.contrastive import frame_scores
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings
from videox2l.synthesis.questions import Question
from videox2l.synthesis.writer import VideoFormat
from videox2l.types import FrameScores

TASKS = ("attribute", "where", "when", "at", "exist", "global")
SHOWN_S = 3.0
"""How long a needle is shown at most."""
CERTAIN = 0.98
"""The target for a match; for none it is 1 less this. Without a margin a perfect separation has no best slope."""


def best_frames(frames: FrameScores, question: Question) -> tuple[list[float], list[float]]:
    """The best cosine of the frames that show the needle, and of those that do not; either may be missing."""
    shown = torch.zeros(len(frames.time_s), dtype=torch.bool)
    near = shown.clone()
    for time_s in question.needle_times_s:
        shown |= (frames.time_s >= time_s - 0.5) & (frames.time_s < time_s + 1)
        near |= (frames.time_s >= time_s - SHOWN_S) & (frames.time_s < time_s + SHOWN_S + 1)
    matching, other = frames.scores[shown], frames.scores[~near]
    return ([float(matching.max())] if len(matching) else []), ([float(other.max())] if len(other) else [])


def logistic(matching: Tensor, other: Tensor) -> tuple[float, float]:
    """Scale and bias of the probability of a match, both kinds weighing the same."""
    cosines = torch.cat([matching, other]).double()
    target = torch.cat([torch.full_like(matching, CERTAIN), torch.full_like(other, 1 - CERTAIN)]).double()
    weight = torch.cat([torch.full_like(matching, 1 / len(matching)), torch.full_like(other, 1 / len(other))]).double()
    fitted = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([fitted], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(fitted[0] * cosines + fitted[1], target, weight)
        value.backward()
        return value

    optimizer.step(loss)
    return float(fitted[0]), float(fitted[1])


def main() -> None:
    """Ask, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--seed", type=int, default=9100)
    parser.add_argument(
        "--tasks", default=",".join(TASKS), help="to ask about; a head that does not read times needs them without at"
    )
    given = parser.parse_args()
    engine = VideoX2L.from_pretrained(given.model, device="cpu", store="ram")
    encoder, directory = engine.encoder, engine.model.directory
    if encoder is None or directory is None:
        parser.error(f"{given.model} has no contrastive head")
    settings = NeedleSettings(
        100 / 60, given.seed, VideoFormat(fps=2), questions=5, tasks=tuple(given.tasks.split(","))
    )
    plan, matching, other = NeedlePlan(settings), [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.videos):
            video, path = plan.video(number), Path(folder) / f"{number}.mp4"
            video.write(path, settings.format)
            index = engine.index(path)
            for question in video.questions:
                frames = frame_scores(encoder, question.text, *index.embeddings(encoder))
                shown, rest = best_frames(frames, question)
                matching += shown
                other += rest
    scale, bias = logistic(torch.tensor(matching), torch.tensor(other))
    config = directory / "contrastive" / "config.json"
    values = json.loads(config.read_text())
    values["match"] = {"scale": round(scale, 2), "bias": round(bias, 2)}
    config.write_text(json.dumps(values, indent=2) + "\n")
    wrong = sum(scale * cosine + bias < 0 for cosine in matching), sum(scale * cosine + bias > 0 for cosine in other)
    print(f"{values['match']}: {wrong[0]} of {len(matching)} matches missed, {wrong[1]} of {len(other)} others taken")


if __name__ == "__main__":
    main()
