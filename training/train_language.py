"""Stage 2: the language model, on videos composed of encoded bank chunks, with a curriculum from one chunk to many."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from training.language import LanguageModel
from training.lessons import IGNORE, Bank, Lesson, Step, draw_questions, draw_step, exact_answers, to_tensors
from training.muon import Muon
from training.workers import average_gradients

QUESTIONS_A_CHUNK = 3
"""Questions for each chunk of a worker's step, shared out among its videos and rounds."""


class Trainer:
    """Model, optimizers and progress of one worker; all workers hold the same weights.

    model: to train. bank: what its videos are composed of. lessons: one after another. out: directory of the curve
    and the checkpoints. seed: of all that is drawn. step_chunks: chunks that a worker compresses in a step.
    """

    def __init__(
        self, model: LanguageModel, bank: Bank, lessons: list[Lesson], out: Path, *, seed: int, step_chunks: int
    ):
        self.model, self.bank, self.lessons, self.out = model, bank, lessons, out
        self.seed, self.step_chunks = seed, step_chunks
        self.rank, self.workers = dist.get_rank(), dist.get_world_size()
        matrices = [p for name, p in model.decoder.named_parameters() if p.dim() == 2 and "embed" not in name]
        chosen = set(map(id, matrices))
        others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
        self.optimizers = [
            Muon(matrices, lr=0.0),
            torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.lesson, self.elapsed_s, self.step = 0, 0.0, 0
        self.average: dict[str, float] = {}

    def run(self) -> None:
        """Train all lessons, from wherever the checkpoint stands."""
        self.resume()
        while self.lesson < len(self.lessons):
            lesson = self.lessons[self.lesson]
            self.run_lesson(lesson)
            self.lesson, self.elapsed_s = self.lesson + 1, 0.0
            self.save(f"after-{lesson.name}")

    def run_lesson(self, lesson: Lesson) -> None:
        """Train one lesson for its minutes."""
        last_logged, last_saved, last_step = 0.0, time.time(), time.time()
        while (progress := self.elapsed_s / (60 * lesson.minutes)) < 1:
            first, last = lesson.lr
            warm = min(1.0, (self.step + 1) / 50)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = warm * (first + (last - first) * progress)
            shared = random.Random(self.seed * 1_000_003 + self.step)  # the same in all workers
            own = random.Random((self.seed * 1_000_003 + self.step) * self.workers + self.rank)
            chunks = shared.choice(lesson.chunks)
            loss = self.loss(draw_step(shared, chunks), chunks, lesson, own)
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            loss.backward()
            seconds, last_step = time.time() - last_step, time.time()
            self.elapsed_s += average_gradients(self.model, seconds)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
            self.step += 1
            if self.rank == 0 and time.time() - last_logged > 15:
                last_logged = time.time()
                self.log(lesson)
            if self.rank == 0 and time.time() - last_saved > 120:
                last_saved = time.time()
                self.save("latest")

    def loss(self, step: Step, chunks: int, lesson: Lesson, rng: random.Random) -> Tensor:
        """Cross-entropy of the answers to questions about a few videos, over all rounds of the step."""
        videos = max(2, min(self.step_chunks * 2 // 5, self.step_chunks // chunks))
        per_round = QUESTIONS_A_CHUNK * self.step_chunks // (videos * len(step.readings))
        composed = [self.bank.compose(rng, chunks) for _ in range(videos)]
        visual = torch.stack([tokens for tokens, _, _ in composed])
        starts = torch.tensor([start for _, start, _ in composed])
        table = self.model.word_table()
        memory = self.model.watch(table, visual, starts, step.windows)
        total = table.new_zeros(())
        for reading in step.readings:
            questions = [draw_questions(rng, script, lesson.tasks, per_round) for _, _, script in composed]
            ids, targets = to_tensors(questions)
            states = self.model.read(table, memory.choose(reading), ids)
            wanted = targets != IGNORE
            logits = states[wanted] @ table.T
            loss = F.cross_entropy(logits, targets[wanted])
            total = total + loss
            self.remember("loss", loss.item())
            level = str(reading[0]) if len(set(reading)) == 1 else "mix"
            asked = (question for of_video in questions for question in of_video)
            for question, right in zip(asked, exact_answers(logits, targets), strict=True):
                self.remember(f"{question.task}@{level}", float(right))
        return total / len(step.readings)

    def remember(self, name: str, value: float) -> None:
        """Running average of the loss, or of exact answers by task and compression."""
        old = self.average.get(name, value)
        self.average[name] = old + 0.02 * (value - old)

    def log(self, lesson: Lesson) -> None:
        """One line of the curve."""
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
                "progress": (self.lesson, self.elapsed_s, self.step),
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
            self.lesson, self.elapsed_s, self.step = state["progress"]
