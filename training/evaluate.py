"""Exact match by task on composed videos of held-out chunks, in training form: the check before the mp4 benchmark."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from training.language import LanguageModel
from training.layout import window
from training.lessons import IGNORE, Bank, exact_answers, to_tensors
from videox2l.synthesis.questions import TASKS, Question, questions_for
from videox2l.synthesis.world import BLOCK_S


@torch.no_grad()
def evaluate(
    model: LanguageModel, bank: Bank, chunks: int, videos: int, per_task: int, seed: int = 0, group: int = 8
) -> dict[str, dict[str, float]]:
    """Accuracy by setting and task: full, uniform ratios, and 2x for the true chunks alone with 32x elsewhere.

    Videos start at 0:00, as they do in use.
    """
    rng = random.Random(seed)
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(videos // group):
        composed = [bank.compose(rng, chunks, "test", start_s=0) for _ in range(group)]
        visual = torch.stack([tokens for tokens, _, _ in composed])
        starts = torch.zeros(group, dtype=torch.long)
        questions = [questions_for(script, rng, per_task=per_task, tasks=TASKS) for _, _, script in composed]
        fewest = min(map(len, questions))
        questions = [rng.sample(of_video, fewest) for of_video in questions]
        table = model.word_table()
        for level in (1, 2, 4, 8, 16, 32):
            edge = min(level, 2)
            layouts = [window(edge if chunk in (0, chunks - 1) else level) for chunk in range(chunks)]
            memory = model.watch(table, visual, starts, layouts)
            levels = [layout.ratio for layout in layouts]
            score(model, table, memory.choose(levels), questions, right["full" if level == 1 else f"{level}x"])
        layouts = [window(2) if chunk in (0, chunks - 1) else window(2, (32,)) for chunk in range(chunks)]
        memory = model.watch(table, visual, starts, layouts)
        score(model, table, memory.choose([32] * chunks), questions, right["32x single pass"])
        for video, of_video in enumerate(questions):
            for question in of_video:
                true = {int(time_s // BLOCK_S) for time_s in question.needle_times_s}
                levels = [2 if chunk in true else 32 for chunk in range(chunks)]
                keys, values = memory.choose(levels)
                one = ([k[video : video + 1] for k in keys], [v[video : video + 1] for v in values])
                score(model, table, one, [[question]], right["2x/32x true chunk"])
    return {
        setting: {task: round(sum(found) / len(found), 3) for task, found in sorted(tasks.items())}
        for setting, tasks in right.items()
    }


def score(
    model: LanguageModel,
    table: Tensor,
    memory: tuple[list[Tensor], list[Tensor]],
    questions: Sequence[Sequence[Question]],
    right: dict[str, list[bool]],
) -> None:
    """Note which answers greedy decoding would give exactly."""
    ids, targets = to_tensors(questions)
    states = model.read(table, memory, ids)
    logits = states[targets != IGNORE] @ table.T
    asked = (question for of_video in questions for question in of_video)
    for question, ok in zip(asked, exact_answers(logits, targets), strict=True):
        right[question.task].append(ok)
