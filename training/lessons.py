"""What the language model is trained on: videos composed of bank chunks, questions about them, and the curriculum."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from training.bank import HELD_OUT
from training.language import VOCABULARY
from training.layout import window
from videox2l.models.video_xl.window import Window
from videox2l.synthesis.backgrounds import Light, Place
from videox2l.synthesis.questions import ASK, LAST_TIME_S, Question
from videox2l.synthesis.world import BLOCK_S, VideoScript

IGNORE = -100


class Bank:
    """Visual tokens (chunks, 10, 4, hidden) of bank chunks with their scripts, read from a directory."""

    def __init__(self, directory: Path):
        self.tokens: Tensor = torch.load(directory / "tokens.pt", map_location="cpu", mmap=True)
        self.scripts: list[VideoScript] = torch.load(directory / "scripts.pt", weights_only=False)
        total = len(self.scripts)
        train = int(total * (1 - HELD_OUT))
        splits = {"train": range(train), "test": range(train, total)}
        self.by_scenery = {split: self._by_scenery(chunks) for split, chunks in splits.items()}

    def _by_scenery(self, chunks: range) -> dict[tuple[Place | None, Light | None], list[int]]:
        found: dict[tuple[Place | None, Light | None], list[int]] = {}
        for chunk in chunks:
            found.setdefault((self.scripts[chunk].place, self.scripts[chunk].light), []).append(chunk)
        return found

    def compose(
        self, rng: random.Random, chunks: int, split: str = "train", start_s: int | None = None
    ) -> tuple[Tensor, int, VideoScript]:
        """A video: visual tokens (chunks, 10, 4, hidden), its first second, and what happens in it.

        start_s: the first second; by default often 0:00, else anywhere, so that all times get trained.
        """
        groups = self.by_scenery[split]
        place, light = rng.choice(list(groups))
        others = groups.get((None, None), groups[place, light])
        chosen = [rng.choice(others if rng.random() < 0.12 else groups[place, light]) for _ in range(chunks)]
        latest = LAST_TIME_S - chunks * BLOCK_S
        anywhere = rng.choices((0, rng.randint(0, 480), rng.randint(0, latest)), (0.3, 0.3, 0.4))[0]
        start = min(anywhere if start_s is None else start_s, latest)
        events = tuple(
            replace(event, start_s=event.start_s + start + BLOCK_S * index)
            for index, chunk in enumerate(chosen)
            for event in self.scripts[chunk].events
        )
        script = VideoScript(0, start + chunks * BLOCK_S, events, place=place, light=light)
        return self.tokens[chosen].float().to(torch.get_default_device()), start, script


DENSE = {"describe": 0.55, "look": 0.2, "when": 0.1, "attribute": 0.08, "where": 0.07}
MIXED = {
    "describe": 0.3,
    "look": 0.12,
    "when": 0.2,
    "attribute": 0.12,
    "where": 0.1,
    "exist": 0.12,
    "global": 0.04,
}
TIMES = {
    "glance": 0.25,
    "look": 0.2,
    "at": 0.1,
    "when": 0.15,
    "describe": 0.1,
    "attribute": 0.05,
    "where": 0.05,
    "exist": 0.05,
    "order": 0.05,
}
ALL = {
    "describe": 0.15,
    "when": 0.27,
    "attribute": 0.12,
    "where": 0.11,
    "exist": 0.12,
    "look": 0.05,
    "at": 0.06,
    "order": 0.05,
    "count": 0.04,
    "global": 0.03,
}


@dataclass(frozen=True)
class Step:
    """What all videos of a step share.

    windows: the layout of every chunk.
    readings: the level of every chunk that a round of questions reads, round by round.
    """

    windows: tuple[Window, ...]
    readings: tuple[tuple[int, ...], ...]


def draw_step(rng: random.Random, chunks: int) -> Step:
    """Full cache (15 %), one ratio (25 %), or a single pass at a fine and a coarse level (60 %).

    A pair is read three times: all fine, all coarse, and a random mix. First and last chunk mostly stay fine.
    """
    draw = rng.random()
    if draw < 0.15:
        return Step((window(1),) * chunks, ((1,) * chunks,))
    edges = (0, chunks - 1) if rng.random() < 0.8 and chunks > 2 else ()
    if draw < 0.4:
        ratio = rng.choice((2, 4, 8, 16, 32))
        edge = rng.choice((2, ratio))
        windows = tuple(window(edge if chunk in edges else ratio) for chunk in range(chunks))
        return Step(windows, (tuple(layout.ratio for layout in windows),))
    fine, coarse = rng.choices(((2, 32), (2, 16), (2, 8), (4, 32), (4, 16)), (0.6, 0.15, 0.1, 0.1, 0.05))[0]
    windows = tuple(window(fine) if chunk in edges else window(fine, (coarse,)) for chunk in range(chunks))
    share = rng.choice((0.2, 0.35, 0.5))
    mix = tuple(fine if rng.random() < share else coarse for _ in range(chunks))
    return Step(windows, ((fine,) * chunks, (coarse,) * chunks, mix))


def draw_questions(rng: random.Random, script: VideoScript, tasks: dict[str, float], count: int) -> list[Question]:
    """So many questions, tasks by their share; where a task finds nothing to ask, another one asks."""
    names, shares = list(tasks), list(accumulate(tasks.values()))
    questions: list[Question] = []
    for _ in range(20 * count):
        if len(questions) == count:
            break
        question = ASK[rng.choices(names, cum_weights=shares)[0]](script, rng)
        if question is not None:
            questions.append(question)
    if len(questions) < count:
        raise RuntimeError("a video without needles entered the training")
    return questions


def to_tensors(rounds: Sequence[Sequence[Question]]) -> tuple[Tensor, Tensor]:
    """Questions by video -> ids (B, Q, n) of "question <a> answer </s>" and the next-token targets, answers alone."""
    rows, targets = [], []
    for question in (question for video in rounds for question in video):
        asked = [*VOCABULARY.encode(question.text), VOCABULARY.ids["<a>"]]
        answered = [*VOCABULARY.encode(question.answer), VOCABULARY.ids["</s>"]]
        rows.append(asked + answered[:-1])
        targets.append([IGNORE] * (len(asked) - 1) + answered)
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    wanted = torch.tensor([row + [IGNORE] * (longest - len(row)) for row in targets])
    return ids.unflatten(0, (len(rounds), -1)), wanted.unflatten(0, (len(rounds), -1))


def exact_answers(logits: Tensor, targets: Tensor) -> list[bool]:
    """For each question, whether every token of its answer is the likeliest, from logits at the targets' places."""
    wanted = targets != IGNORE
    right = torch.ones_like(wanted)
    right[wanted] = logits.argmax(-1) == targets[wanted]
    return right.all(-1).flatten().tolist()
