"""Stage 2 of nano: the language model, on videos composed of encoded bank chunks, from one chunk to many."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from training.language import LanguageModel
from training.lessons import IGNORE, Bank, draw_questions, draw_step, exact_answers, to_tensors
from training.trainer import Lesson, Trainer, matrices_of

QUESTIONS_A_CHUNK = 3
"""Questions for each chunk of a worker's step, shared out among its videos and rounds."""


class NanoTrainer(Trainer):
    """Training of nano by one worker.

    model: to train. bank: what its videos are composed of. The others as for `Trainer`.
    """

    model: LanguageModel

    def __init__(self, model: LanguageModel, bank: Bank, lessons: Sequence[Lesson], out: Path, *, seed: int):
        super().__init__(model, matrices_of(model.decoder, lambda name: "embed" in name), lessons, out, seed=seed)
        self.bank = bank

    def loss(self, lesson: Lesson, chunks: int, shared: random.Random, own: random.Random) -> Tensor:
        """Cross-entropy of the answers to questions about a few videos, over all rounds of the step."""
        step = draw_step(shared, chunks)
        videos = max(2, min(lesson.step_chunks * 2 // 5, lesson.step_chunks // chunks))
        per_round = QUESTIONS_A_CHUNK * lesson.step_chunks // (videos * len(step.readings))
        composed = [self.bank.compose(own, chunks) for _ in range(videos)]
        visual = torch.stack([tokens for tokens, _, _ in composed])
        starts = torch.tensor([start for _, start, _ in composed])
        table = self.model.word_table()
        memory = self.model.watch(table, visual, starts, step.windows)
        total = table.new_zeros(())
        for reading in step.readings:
            questions = [draw_questions(own, script, lesson.tasks, per_round) for _, _, script in composed]
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
