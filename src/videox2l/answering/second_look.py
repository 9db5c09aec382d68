"""A second look: where the model is unsure how to begin its answer, more of the video is read, once."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from videox2l.answering.answer import FirstLook
from videox2l.answering.stream import AnswerStream
from videox2l.kv.cache import KVCache
from videox2l.models.base import MLLM

UNSURE = 0.5
"""The model is unsure if the likeliest first token of its answer is by less than this more probable than the next."""


@torch.no_grad()
def looks_again(stream: AnswerStream, cache: KVCache) -> bool:
    """Whether a question is to be answered from a wider selection, which it then has; it is looked at once.

    cache: the one of its first selection, which stays as it is.
    """
    assert stream.selection is not None and stream.asked is not None and stream.widen is not None
    widen, stream.widen = stream.widen, None
    with stream.clock("first_look"):
        margin = first_token_margin(stream.model, cache, stream.asked.ids)
    if margin >= UNSURE:
        return False
    wider = widen(stream.selection, stream.index)
    if wider is None:
        note = "the model was unsure how to begin, and there is no more detail that a second look may read"
        stream.selection = replace(stream.selection, notes=(*stream.selection.notes, note))
        return False
    seconds = sum(stream.clock.seconds.get(stage, 0.0) for stage in ("load", "prefill", "first_look"))
    stream.first_look = FirstLook(margin, cache.length, seconds)
    stream.choose(wider)
    return True


def first_token_margin(model: MLLM, cache: KVCache, ids: Tensor) -> float:
    """By how much the likeliest first token of an answer is more probable than the next; the cache stays as it is."""
    length, next_position = cache.length, cache.next_position
    best, second = model.logits(model.read(ids, cache)[-1:])[0].softmax(-1).topk(2).values.tolist()
    cache.cut(length, next_position)
    return best - second
