"""What nano-qwen is trained on: videos composed of bank chunks, and conversations about them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from training.lessons import IGNORE
from training.qwen.tokenizer import VOCABULARY
from videox2l.synthesis.questions import Question

USER = [VOCABULARY.ids["<|im_start|>"], VOCABULARY.ids["user"]]
END = VOCABULARY.ids["<|im_end|>"]
ASSISTANT = [VOCABULARY.ids["<|im_start|>"], VOCABULARY.ids["assistant"]]

DENSE = {"describe": 0.5, "look": 0.22, "when": 0.12, "attribute": 0.08, "where": 0.08}
MIXED = {
    "describe": 0.25,
    "look": 0.15,
    "when": 0.12,
    "attribute": 0.08,
    "where": 0.08,
    "at": 0.08,
    "exist": 0.1,
    "strange": 0.03,
    "order": 0.05,
    "pair": 0.05,
    "global": 0.03,
}
ALL = {
    "describe": 0.06,
    "look": 0.12,
    "when": 0.1,
    "attribute": 0.06,
    "where": 0.05,
    "at": 0.14,
    "exist": 0.1,
    "strange": 0.04,
    "order": 0.1,
    "pair": 0.13,
    "count": 0.08,
    "global": 0.02,
}


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


def conversation_ids(turns: Sequence[tuple[str, str]]) -> tuple[list[int], list[int]]:
    """Ids and next-token targets of turns (question, answer) as the chat template has them behind the video.

    The targets are the answers and what ends them. The id that ends the last answer is a target alone.
    """
    ids: list[int] = []
    targets: list[int] = []
    for turn, (question, answer) in enumerate(turns):
        asked = [*(USER if turn else []), *VOCABULARY.encode(question), END, *ASSISTANT]
        answered = [*VOCABULARY.encode(answer), END]
        ids += [*asked, *answered]
        targets += [IGNORE] * (len(asked) - 1) + answered + [IGNORE]
    return ids[:-1], targets[:-1]


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
