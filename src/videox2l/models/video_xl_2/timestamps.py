"""The time text that stands before every group of four frames."""

from __future__ import annotations

import re

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

CLOCK_TIME = re.compile(r"\b(?:(\d{1,2}):)?(\d{2}):(\d{2})\b")


def time_text(time_s: float) -> str:
    """The text of a group whose first frame is at this time, as in "Time 12.5s:"."""
    return f"Time {round(time_s, 1)}s:"


def video_ids(
    times_s: list[float], tokens_per_group: int, placeholder_id: int, tokenizer: PreTrainedTokenizerBase
) -> tuple[Tensor, Tensor]:
    """Ids of a run of groups, (n,), and each id's group, (n,).

    A group is its time text, then a placeholder for each of its visual tokens.
    """
    ids: list[int] = []
    groups: list[int] = []
    for group, time_s in enumerate(times_s):
        text = tokenizer(time_text(time_s), add_special_tokens=False)["input_ids"]
        ids += [*text, *[placeholder_id] * tokens_per_group]
        groups += [group] * (len(text) + tokens_per_group)
    return torch.tensor(ids), torch.tensor(groups)


def clock_times_to_seconds(question: str) -> str:
    """Write the times of a question as the video's are written: "at 01:30" becomes "at 90 seconds"."""

    def seconds(match: re.Match[str]) -> str:
        hours, minutes, rest = (int(part or 0) for part in match.groups())
        return f"{hours * 3600 + minutes * 60 + rest} seconds"

    return CLOCK_TIME.sub(seconds, question)
