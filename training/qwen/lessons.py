"""What nano-qwen is trained on: videos composed of bank chunks, and conversations about them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from training.lessons import IGNORE
from training.qwen.tokenizer import VOCABULARY
from videox2l.synthesis.questions import ASK, LARGEST_COUNT, LAST_TIME_S, SO, Question
from videox2l.synthesis.world import CORNERS, KINDS, Event, VideoScript

USER = [VOCABULARY.ids["<|im_start|>"], VOCABULARY.ids["user"]]
END = VOCABULARY.ids["<|im_end|>"]
ASSISTANT = [VOCABULARY.ids["<|im_start|>"], VOCABULARY.ids["assistant"]]


DENSE = {"describe": 0.5, "look": 0.22, "when": 0.12, "attribute": 0.08, "where": 0.08}
MIXED = {
    "describe": 0.2,
    "look": 0.11,
    "glance": 0.06,
    "after": 0.07,
    "when": 0.1,
    "attribute": 0.06,
    "where": 0.05,
    "at": 0.07,
    "exist": 0.1,
    "strange": 0.03,
    "order": 0.05,
    "pair": 0.05,
    "global": 0.03,
}
MOMENTS = {
    "glance": 0.1,
    "look": 0.1,
    "at": 0.13,
    "after": 0.14,
    "when": 0.06,
    "describe": 0.06,
    "attribute": 0.03,
    "where": 0.02,
    "exist": 0.07,
    "strange": 0.03,
    "order": 0.07,
    "pair": 0.1,
    "count": 0.07,
}
ALL = {
    "describe": 0.05,
    "look": 0.06,
    "glance": 0.04,
    "after": 0.08,
    "when": 0.08,
    "attribute": 0.06,
    "where": 0.05,
    "at": 0.11,
    "exist": 0.1,
    "strange": 0.04,
    "order": 0.08,
    "pair": 0.1,
    "count": 0.1,
    "global": 0.04,
}
LAST = {
    "describe": 0.03,
    "look": 0.03,
    "glance": 0.02,
    "after": 0.08,
    "when": 0.05,
    "attribute": 0.05,
    "where": 0.04,
    "at": 0.07,
    "exist": 0.09,
    "strange": 0.04,
    "order": 0.06,
    "pair": 0.12,
    "count": 0.17,
    "global": 0.15,
}
"""Shares of the tasks in a lesson."""


def draw_gaps(rng: random.Random, pairs: int, pairs_a_chunk: int, most: int = 12000) -> list[int]:
    """Positions left out before each pair of frames: in half of the steps none, else before some chunks up to `most`.

    An hour of video reaches over more positions than any composed one; so its distances are trained all the same.
    """
    gaps = [0] * pairs
    if rng.random() < 0.5:
        total = int(10 ** rng.uniform(1, 4.08))
        for _ in range(rng.randint(1, 4)):
            gaps[pairs_a_chunk * rng.randrange(pairs // pairs_a_chunk)] += min(total, most) // 4
    return gaps


def draw_conclusion(rng: random.Random) -> Question:
    """A question of the task "conclude": "order", "count" or "pair" about needles that no video holds.

    Its reasons are given, and what follows from them is trained.
    """
    task = rng.choice(("order", "order", "count", "pair", "pair"))
    for _ in range(100):
        question = ASK[task](draw_events(rng, one_colour=task == "count"), rng)
        if question is not None and question.reasons and (task != "pair" or "larger" in question.reasons):
            return replace(question, task="conclude")
    raise RuntimeError("no conclusion was found among a hundred questions")


def draw_events(rng: random.Random, *, one_colour: bool) -> VideoScript:
    """A few needles somewhere in an hour, of different kinds or up to twenty of one colour."""
    window = rng.choice((10, 30, 100, 300))
    first = rng.randrange(LAST_TIME_S - window)
    kinds = rng.sample(KINDS, rng.randint(2, 8))
    if one_colour:
        kinds = rng.choices([kind for kind in KINDS if kind[0] == kinds[0][0]], k=rng.randint(1, LARGEST_COUNT))
    starts = sorted(first + rng.randrange(window) for _ in kinds)
    events = tuple(
        Event(colour, shape, rng.randrange(10), rng.choice(CORNERS), float(start), 1.0)
        for start, (colour, shape) in zip(starts, kinds, strict=True)
    )
    return VideoScript(0, float(first + window), events)


def draw_conversations(rng: random.Random, questions: Sequence[Question]) -> list[list[Question]]:
    """Questions in turns: four in ten stand alone, the others in conversations of two to six turns."""
    conversations, start = [], 0
    while start < len(questions):
        turns = 1 if rng.random() < 0.4 else rng.randint(2, 6)
        conversations.append(list(questions[start : start + turns]))
        start += turns
    return conversations


def written(rng: random.Random, text: str) -> str:
    """A question's text, in one of five with its times as the class writes them: "1:37" as "<97.0 seconds>"."""
    if rng.random() < 0.8:
        return text
    words = []
    for word in text.split(" "):
        bare = word.rstrip("?,.")
        minutes, colon, seconds = bare.partition(":")
        is_time = colon and minutes.isdigit() and seconds.isdigit()
        words.append(f"<{60 * int(minutes) + int(seconds)}.0 seconds>{word[len(bare) :]}" if is_time else word)
    return " ".join(words)


def conversation_ids(turns: Sequence[tuple[str, str, str]]) -> tuple[list[int], list[int]]:
    """Ids and next-token targets of turns as the chat template has them behind the video.

    turns: question, how the answer begins, which is no target, and the answer or the rest of it, which is with what
    ends it. The id that ends the last answer is a target alone.
    """
    ids: list[int] = []
    targets: list[int] = []
    for turn, (question, given, answer) in enumerate(turns):
        asked = [*(USER if turn else []), *VOCABULARY.encode(question), END, *ASSISTANT, *VOCABULARY.encode(given)]
        answered = [*VOCABULARY.encode(answer), END]
        ids += [*asked, *answered]
        targets += [IGNORE] * (len(asked) - 1) + answered + [IGNORE]
    return ids[:-1], targets[:-1]


def turn_of(rng: random.Random, question: Question) -> tuple[str, str, str]:
    """A question as a turn to train on."""
    if question.task == "conclude":
        counted = f"{question.reasons} {SO}"
        given = re.sub("(first|larger) .*", r"\1", counted)  # up to what is compared; all that is counted
        return written(rng, question.text), given, question.spoken[len(given) :]
    return written(rng, question.text), "", question.spoken


def pack(videos: Sequence[Sequence[tuple[list[int], list[int]]]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Conversations by video -> ids, targets, segments and offsets, (B, n) each; padding is a segment of its own."""
    longest = max(sum(len(ids) for ids, _ in video) for video in videos)
    shape = len(videos), longest
    packed = torch.zeros(shape, dtype=torch.long)
    targets = torch.full(shape, IGNORE)
    segments, offsets = torch.full(shape, -1), torch.zeros(shape, dtype=torch.long)
    for row, video in enumerate(videos):
        start = 0
        for number, (ids, wanted) in enumerate(video):
            place = slice(start, start + len(ids))
            packed[row, place], targets[row, place] = torch.tensor(ids), torch.tensor(wanted)
            segments[row, place], offsets[row, place] = number, torch.arange(len(ids))
            start += len(ids)
    return packed, targets, segments, offsets
