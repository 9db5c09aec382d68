"""A second look: where the model is unsure how to begin its answer, more of the video is read, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from videox2l.answering.answer import FirstLook
from videox2l.answering.stream import Clock, load_selection
from videox2l.index.video_index import VideoIndex
from videox2l.kv.cache import KVCache
from videox2l.models.base import MLLM
from videox2l.types import Selection

UNSURE = 0.5
"""The model is unsure if the likeliest first token of its answer is by less than this more probable than the next."""


@torch.no_grad()
def look_twice(
    *,
    model: MLLM,
    index: VideoIndex,
    selection: Selection,
    widened: Callable[[Selection, VideoIndex], Selection | None],
    ids: Tensor,
    room: int,
    clock: Clock,
) -> tuple[Selection, KVCache, FirstLook | None]:
    """The selection to answer from, the given one or a wider one, its cache, and what was read before if it is wider.

    widened: makes a wider selection; None where there is none, which is noted on the given one.
    ids: of all that stands behind the video, (n,). room: tokens to leave space for behind the video.
    """
    cache = load_selection(model, index, selection, room, clock)
    with clock("first_look"):
        margin = first_token_margin(model, cache, ids)
    if margin >= UNSURE:
        return selection, cache, None
    wider = widened(selection, index)
    if wider is None:
        note = "the model was unsure how to begin, and there is no more detail that a second look may read"
        return replace(selection, notes=(*selection.notes, note)), cache, None
    seconds = sum(clock.seconds.get(stage, 0.0) for stage in ("load", "prefill", "first_look"))
    first = FirstLook(margin, cache.length, seconds)
    del cache  # there may be room for one only
    return wider, load_selection(model, index, wider, room, clock), first


def first_token_margin(model: MLLM, cache: KVCache, ids: Tensor) -> float:
    """By how much the likeliest first token of an answer is more probable than the next; the cache stays as it is."""
    length, next_position = cache.length, cache.next_position
    best, second = model.logits(model.read(ids, cache)[-1:])[0].softmax(-1).topk(2).values.tolist()
    cache.cut(length, next_position)
    return best - second
