"""Stage 2 of nano-qwen: the language model, on videos composed of encoded bank chunks, from one chunk to many."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from training.bank import FRAMES
from training.lessons import IGNORE, Bank, draw_questions
from training.qwen.language import LanguageModel, Memory
from training.qwen.lessons import (
    END,
    conversation_ids,
    draw_conclusion,
    draw_conversations,
    draw_gaps,
    pack,
    turn_of,
)
from training.qwen.tower import PAIR
from training.trainer import Lesson, Trainer, matrices_of
from training.workers import autocast
from videox2l.synthesis.questions import Question

QUESTIONS_A_CHUNK = 3
TIME_WEIGHT = 0.3
"""Of the auxiliary loss by which visual tokens learn their time; without it "when" and "at" stay at chance for long."""
CONCLUSIONS, CONCLUSION_WEIGHT = 20, 0.3
"""How many there are in a step of a worker, and their weight."""
PAIRS = FRAMES // PAIR


class QwenTrainer(Trainer):
    """Training of nano-qwen by one worker.

    model: to train. banks: what its videos are composed of, with the rows and columns of their visual tokens; three
    in four steps are of the first. The others as for `Trainer`.
    """

    model: LanguageModel

    def __init__(
        self,
        model: LanguageModel,
        banks: Sequence[tuple[Bank, tuple[int, int]]],
        lessons: Sequence[Lesson],
        out: Path,
        *,
        seed: int,
    ):
        super().__init__(model, matrices_of(model.decoder), lessons, out, seed=seed)
        self.banks = banks

    def loss(self, lesson: Lesson, chunks: int, shared: random.Random, own: random.Random) -> Tensor:
        """Cross-entropy of the answers in conversations about a few videos, and of conclusions without a video."""
        bank, grid = self.banks[0] if shared.random() < 0.75 else shared.choice(self.banks)
        videos = max(1, lesson.step_chunks // chunks)
        composed = [bank.compose(own, chunks) for _ in range(videos)]
        count = QUESTIONS_A_CHUNK * lesson.step_chunks // videos
        conversations = [
            draw_conversations(own, draw_questions(own, script, lesson.tasks, count)) for _, _, script in composed
        ]
        rows = [
            [conversation_ids([turn_of(own, question) for question in turns]) for turns in of_video]
            for of_video in conversations
        ]
        ids, targets, segments, offsets = pack(rows)
        with autocast():
            table = self.model.word_table()
            memory = watch(self.model, table, composed, grid, draw_gaps(shared, PAIRS * chunks, PAIRS))
            states = self.model.read(table, memory, ids, segments, offsets)
            logits = (states[targets != IGNORE] @ table.T).float()
        loss = F.cross_entropy(logits, targets[targets != IGNORE])
        # A few tokens of each pair, enough to learn from, are asked for the time that stands before them.
        timed = memory.early[:, :, [shared.randrange(memory.early.shape[2]) for _ in range(2)]]
        time_loss = self.model.time_loss(table, timed, torch.tensor([start for _, start, _ in composed]))
        self.remember("time loss", time_loss.item())
        self.remember("loss", loss.item())
        self.remember_answers(logits, targets, [q for video in conversations for turns in video for q in turns])
        return loss + TIME_WEIGHT * time_loss + CONCLUSION_WEIGHT * self.conclusion_loss(table, own)

    def conclusion_loss(self, table: Tensor, rng: random.Random) -> Tensor:
        """Cross-entropy of conclusions, which are cheap: they are read without a video."""
        asked = [draw_conclusion(rng) for _ in range(CONCLUSIONS)]
        ids, targets, segments, offsets = pack([[conversation_ids([turn_of(rng, question)])] for question in asked])
        with autocast():
            states = self.model.read(table, self.model.nothing_watched(CONCLUSIONS), ids, segments, offsets)
            logits = (states[targets != IGNORE] @ table.T).float()
        self.remember_answers(logits, targets, asked)
        return F.cross_entropy(logits, targets[targets != IGNORE])

    def remember_answers(self, logits: Tensor, targets: Tensor, asked: Sequence[Question]) -> None:
        """Running averages of exact answers by task."""
        for question, right in zip(asked, exact(logits, targets, asked), strict=True):
            self.remember(question.task, float(right))


def watch(
    model: LanguageModel,
    table: Tensor,
    composed: Sequence[tuple[Tensor, int, object]],
    grid: tuple[int, int],
    gaps: list[int] | None = None,
) -> Memory:
    """Prefill composed videos of one length."""
    visual = torch.stack([features.flatten(0, 1) for features, _, _ in composed])  # (B, pairs, 1 + depths, n, hidden)
    return model.watch(table, visual, torch.tensor([start for _, start, _ in composed]), grid, gaps)


def exact(logits: Tensor, targets: Tensor, asked: Sequence[Question]) -> list[bool]:
    """For each question in the order of the packed turns, whether every token of its answer is the likeliest."""
    wanted = targets[targets != IGNORE]
    right = (logits.argmax(-1) == wanted).tolist()
    ends = (wanted == END).nonzero()[:, 0].tolist()
    assert len(ends) == len(asked)
    return [all(right[start : end + 1]) for start, end in zip([0, *(e + 1 for e in ends[:-1])], ends, strict=True)]
