"""Accuracy by task on composed videos of held-out chunks, in training form: the check before the mp4 benchmark."""

from __future__ import annotations

import random
from collections import defaultdict

import torch

from training.lessons import IGNORE, Bank
from training.qwen.language import LanguageModel
from training.qwen.lessons import conversation_ids, pack
from training.qwen.train_language import exact, watch
from training.workers import autocast
from videox2l.synthesis.questions import TASKS, questions_for

TURNS = 6


@torch.no_grad()
def evaluate(
    model: LanguageModel, bank: Bank, grid: tuple[int, int], chunks: int, videos: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Share of questions whose answer, reasons and all, is likeliest word by word: alone, and in turns of six.

    In conversations the earlier turns hold the true answers. Videos start at 0:00, as they do in use.
    """
    rng = random.Random(seed)
    right: dict[str, dict[str, list[bool]]] = {"alone": defaultdict(list), "in turns": defaultdict(list)}
    for _ in range(videos):
        composed = [bank.compose(rng, chunks, "test", start_s=0)]
        asked = questions_for(composed[0][2], rng, per_task=4, tasks=TASKS)
        rng.shuffle(asked)
        with autocast():
            table = model.word_table()
            memory = watch(model, table, composed, grid)
            for name, turns in (("alone", 1), ("in turns", TURNS)):
                chats = [asked[start : start + turns] for start in range(0, len(asked), turns)]
                rows = [conversation_ids([(q.text, "", q.spoken) for q in chat]) for chat in chats]
                ids, targets, segments, offsets = pack([rows])
                states = model.read(table, memory, ids, segments, offsets)
                logits = states[targets != IGNORE] @ table.T
                for question, ok in zip(asked, exact(logits, targets, asked), strict=True):
                    right[name][question.task].append(ok)
    return {
        name: {task: round(sum(found) / len(found), 3) for task, found in sorted(tasks.items())}
        for name, tasks in right.items()
    }
