"""The loop behind every language model here: lessons one after another, counted in steps, on a few workers."""

from __future__ import annotations

import json
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.muon import Muon
from training.workers import average_gradients

LOG_STEPS, SAVE_STEPS = 25, 250


@dataclass(frozen=True)
class Lesson:
    """One part of the curriculum.

    name: for the curve and the checkpoint behind it.
    steps: how long it is trained.
    chunks: how many chunks a video has, drawn from this list.
    step_chunks: how many chunks a worker's videos of one step have together.
    tasks: the share of each task in the questions.
    lr: learning rates at its start and at its end.
    """

    name: str
    steps: int
    chunks: tuple[int, ...]
    step_chunks: int
    tasks: dict[str, float]
    lr: tuple[float, float]


class Trainer(ABC):
    """Model, optimizers and progress of one worker; all workers hold the same weights.

    model: to train. matrices: those of its parameters that Muon trains; AdamW trains the others. lessons: one after
    another. out: directory of the curve and the checkpoints. seed: of all that is drawn.
    """

    def __init__(
        self, model: nn.Module, matrices: Sequence[nn.Parameter], lessons: Sequence[Lesson], out: Path, *, seed: int
    ):
        self.model, self.lessons, self.out, self.seed = model, lessons, out, seed
        self.rank, self.workers = dist.get_rank(), dist.get_world_size()
        chosen = set(map(id, matrices))
        others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
        self.optimizers = [
            Muon(matrices, lr=0.0),
            torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.lesson, self.lesson_step, self.step, self.elapsed_s = 0, 0, 0, 0.0
        self.average: dict[str, float] = {}

    @abstractmethod
    def loss(self, lesson: Lesson, chunks: int, shared: random.Random, own: random.Random) -> Tensor:
        """The loss of a step on videos of so many chunks.

        shared: chance that all workers have in common. own: this worker's.
        """

    def run(self) -> None:
        """Train all lessons, from wherever the checkpoint stands."""
        self.resume()
        while self.lesson < len(self.lessons):
            lesson = self.lessons[self.lesson]
            self.run_lesson(lesson)
            self.lesson, self.lesson_step = self.lesson + 1, 0
            self.save(f"after-{lesson.name}")

    def run_lesson(self, lesson: Lesson) -> None:
        """Train what is left of one lesson."""
        started, earlier_s = time.time(), self.elapsed_s
        while self.lesson_step < lesson.steps:
            first, last = lesson.lr
            warm = min(1.0, (self.step + 1) / 50)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = warm * (first + (last - first) * self.lesson_step / lesson.steps)
            shared = random.Random(self.seed * 1_000_003 + self.step)  # the same in all workers
            own = random.Random((self.seed * 1_000_003 + self.step) * self.workers + self.rank)
            loss = self.loss(lesson, shared.choice(lesson.chunks), shared, own)
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            loss.backward()
            average_gradients(self.model)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
            self.step, self.lesson_step = self.step + 1, self.lesson_step + 1
            self.elapsed_s = earlier_s + time.time() - started
            if self.step % LOG_STEPS == 0:
                self.log(lesson)
            if self.step % SAVE_STEPS == 0:
                self.save("latest")

    def remember(self, name: str, value: float) -> None:
        """Running average of the loss, or of exact answers by task."""
        old = self.average.get(name, value)
        self.average[name] = old + 0.02 * (value - old)

    def log(self, lesson: Lesson) -> None:
        """One line of the curve."""
        if self.rank == 0:
            record = {"lesson": lesson.name, "step": self.step, "s": round(self.elapsed_s)}
            record |= {key: round(value, 3) for key, value in sorted(self.average.items())}
            with (self.out / "language.jsonl").open("a") as file:
                print(json.dumps(record), file=file)

    def save(self, name: str) -> None:
        """Write a checkpoint; "latest" and the end of a lesson both can be resumed from."""
        if self.rank == 0:
            state = {
                "model": self.model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "progress": (self.lesson, self.lesson_step, self.step, self.elapsed_s),
            }
            for target in {f"language-{name}.pt", "language-latest.pt"}:
                torch.save(state, self.out / f"{target}.part")
                (self.out / f"{target}.part").replace(self.out / target)

    def resume(self) -> None:
        """Continue from language-latest.pt where there is one."""
        file = self.out / "language-latest.pt"
        if file.is_file():
            state = torch.load(file, map_location=torch.get_default_device(), weights_only=True)
            self.model.load_state_dict(state["model"])
            for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(values)
            self.lesson, self.lesson_step, self.step, self.elapsed_s = state["progress"]


def matrices_of(decoder: nn.Module, but: Callable[[str], bool] = lambda _: False) -> list[nn.Parameter]:
    """A decoder's matrices, without those whose name is refused."""
    return [parameter for name, parameter in decoder.named_parameters() if parameter.dim() == 2 and not but(name)]
