"""An answer while it is decoded: its pieces of text, and the seconds each stage takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from videox2l.answering.answer import Answer, FirstLook
from videox2l.answering.generation import Generation, generate, stream_text
from videox2l.answering.moments import answer_moments
from videox2l.index.reload import load_cache
from videox2l.index.video_index import ChunkEntry, VideoIndex
from videox2l.kv.cache import KVCache
from videox2l.models.base import MLLM
from videox2l.types import ChunkReport, Cue, Selection


@dataclass
class Clock:
    """Seconds by stage; a stage entered again adds up, and one within another counts for itself alone."""

    seconds: dict[str, float] = field(default_factory=dict)
    _inner_s: float = 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a stage."""
        before_s, self._inner_s = self._inner_s, 0.0
        started = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - started
            self.seconds[stage] = self.seconds.get(stage, 0.0) + took_s - self._inner_s
            self._inner_s = before_s + took_s


def load_selection(model: MLLM, index: VideoIndex, selection: Selection, room: int, clock: Clock) -> KVCache:
    """The cache of a selection; re-loading and fresh prefill are timed apart.

    room: tokens to leave space for behind the video.
    """
    with clock("load"), torch.no_grad():
        return load_cache(
            model,
            index,
            selection.levels,
            room,
            frames=selection.chosen_frames,
            while_prefilling=partial(clock, "prefill"),
        )


def chunk_report(entry: ChunkEntry, selection: Selection) -> ChunkReport:
    """What an answer says about a chunk."""
    chunk = entry.chunk
    level, frames = selection.levels[chunk.index], selection.chosen_frames.get(chunk.index)
    return ChunkReport(
        index=chunk.index,
        start_s=chunk.start_s,
        end_s=chunk.end_s,
        score=None if selection.scores is None else selection.scores[chunk.index],
        level=level,
        ratio=entry.ratio(level, frames),
        is_chosen=chunk.index in selection.moments,
        frames_s=None if frames is None else tuple(entry.frames[frame].time_s for frame in frames),
    )


class AnswerStream:
    """An answer as it is decoded: an iterator over pieces of text, and `.answer` once they are all taken.

    model, index: what answers, and about which video.
    question, ids: the question, and the token ids of all that stands behind the video, (n,).
    cues: the subtitles that stand before the question.
    selection, cache: the level of every chunk, and the KVs that were re-loaded so.
    generation: how the answer is decoded.
    clock: goes on from what was done before.
    finished: called once with the finished answer.
    first_look: what was read before, if this is a second look.
    """

    def __init__(
        self,
        *,
        model: MLLM,
        index: VideoIndex,
        question: str,
        cues: tuple[Cue, ...] = (),
        selection: Selection,
        cache: KVCache,
        ids: torch.Tensor,
        generation: Generation,
        clock: Clock,
        finished: Callable[[Answer], None] = lambda _: None,
        first_look: FirstLook | None = None,
    ):
        self._clock, self._tell_finished = clock, finished
        self._pieces = stream_text(generate(model, cache, ids, generation), model.tokenizer, generation.stop)
        self._text = ""
        self._finished = False
        reports = tuple(chunk_report(entry, selection) for entry in index.entries)
        chosen = [reports[chunk] for chunk in selection.moments]
        unknown = model.unknown_words(question)
        notes = (f"{model.name} does not know: {', '.join(unknown)}",) if unknown else ()
        self._draft = Answer(
            text="",
            chunks=reports,
            cache_tokens=index.tokens(selection.levels, selection.chosen_frames),
            full_cache_tokens=index.full_tokens,
            timings_s=clock.seconds,
            model=model.name,
            index_reused=index.reused,
            question=question,
            moments=selection.named or answer_moments(chosen, selection.frames, index.spec.video.end_s),
            cues=cues,
            selection=selection,
            index=index,
            notes=(*index.notes, *selection.notes, *notes),
            first_look=first_look,
        )

    def __iter__(self) -> Iterator[str]:
        return self

    @torch.no_grad()
    def __next__(self) -> str:
        with self._clock("decode" if self._text else "first_token"):
            piece = next(self._pieces, None)
        if piece is None:
            if not self._finished:
                self._finished = True
                self._tell_finished(self.answer)
            raise StopIteration
        self._text += piece
        return piece

    @property
    def answer(self) -> Answer:
        """The finished answer; pieces that were not taken yet are decoded first."""
        if not self._finished:
            for _ in self:
                pass
        return replace(self._draft, text=self._text.strip(), timings_s=dict(self._clock.seconds))
