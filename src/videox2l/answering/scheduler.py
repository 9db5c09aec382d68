"""Many questions answered at once: at every step some join, all read or choose a token, and the finished ones leave.

This is continuous batching (Orca, OSDI 2022), small: one run of the decoder reads its weights once for all sequences,
each of which attends to a cache of its own. Sequences are packed one behind the other, so none is padded, and new
questions are read in the same run in which others choose their next token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice

import torch

from videox2l.answering.generation import read
from videox2l.answering.second_look import looks_again
from videox2l.answering.stream import AnswerStream
from videox2l.checks import check_number
from videox2l.errors import SettingsError
from videox2l.index.read_once import ReadOnce
from videox2l.index.reload import LastCache, MergedCache, merge
from videox2l.models.base import MLLM


class Scheduler:
    """Answers questions together; one thread at a time may use it.

    Questions join in the order they came, as soon as there is room. One that fails leaves the others as they are.

    model: what answers.
    sequences: how many questions are answered at once, at most. Default 8; more share each reading of the weights, and
        take more memory.
    cache_tokens: tokens in the caches of all that are answered at once, at most, with the questions and the longest
        answers. Default 65,536. A question that needs more by itself is answered alone.
    step_tokens: tokens that one run of the decoder reads, at most. None, the default, is 512, or `sequences` if that is
        more, which it can't be less than. If it is lower, answers in progress wait less for long questions that join.
    last: where the cache of the last answer is kept; nowhere by default.
    Raises: SettingsError for numbers that leave no room.
    """

    def __init__(
        self,
        model: MLLM,
        *,
        sequences: int = 8,
        cache_tokens: int = 65_536,
        step_tokens: int | None = None,
        last: LastCache | None = None,
    ):
        check_number(sequences, 1, "sequences", "questions")
        check_number(cache_tokens, 1, "cache_tokens", "tokens")
        step_tokens = max(512, sequences) if step_tokens is None else step_tokens
        check_number(step_tokens, 1, "step_tokens", "tokens")
        if step_tokens < sequences:
            raise SettingsError(
                f"step_tokens={step_tokens} is less than sequences={sequences}, each of which reads a token in every "
                f"step: pass {sequences} or more"
            )
        self.model = model
        self.sequences, self.cache_tokens, self.step_tokens = sequences, cache_tokens, step_tokens
        self._last = LastCache(0) if last is None else last
        self._reads = ReadOnce()
        self._waiting: deque[AnswerStream] = deque()
        self._running: list[AnswerStream] = []

    def __repr__(self) -> str:
        return f"Scheduler({self.model.name}, {len(self._running)} running, {len(self._waiting)} waiting)"

    @property
    def is_idle(self) -> bool:
        """Whether every question that was added has left."""
        return not self._running and not self._waiting

    @property
    def tokens_in_flight(self) -> int:
        """Tokens that the caches of all questions take that are answered now."""
        return sum(stream.needed_tokens for stream in self._running)

    def add(self, stream: AnswerStream) -> None:
        """Let a question wait for its turn. Raises: SettingsError if another model is to answer it."""
        if stream.model is not self.model:
            raise SettingsError(
                f"this scheduler answers with {self.model.name} and the question is asked of {stream.model.name}: make "
                "one with the engine that is asked"
            )
        self._waiting.append(stream)

    def remove(self, stream: AnswerStream) -> None:
        """Let a question leave, wherever it is, and free its cache."""
        if stream in self._waiting:
            self._waiting.remove(stream)
        if stream in self._running:
            self._running.remove(stream)
        stream.merged = stream.tokens = None

    def run(self) -> None:
        """Answer all questions."""
        while not self.is_idle:
            self.step()

    @torch.no_grad()
    def step(self) -> None:
        """Let questions join while there is room, run the decoder once, and let finished ones leave."""
        self.join()
        running = list(self._running)
        if not running:
            return
        answers = [stream.tokens for stream in running if stream.tokens is not None]
        with ExitStack() as stages:
            for stream in running:
                stages.enter_context(stream.clock(stream.stage))
            places, logits = read(self.model, answers, self.step_tokens)
            chosen = {}
            for row, place in enumerate(places):
                with failing(running[place]):
                    chosen[running[place]] = answers[place].choose(logits[[row]])
            tokens = torch.cat(list(chosen.values())).tolist() if chosen else []  # all at once: the device waits once
        try:
            for stream, token in zip(chosen, tokens, strict=True):
                if not stream.is_finished:  # what another one calls may have cancelled it
                    with failing(stream):
                        stream.take(token)
        finally:
            self._let_go()

    @torch.no_grad()
    def join(self) -> None:
        """Choose the levels of the questions that come next, and re-load these while there is room."""
        coming = list(islice(self._waiting, self.sequences - len(self._running)))
        self._select([stream for stream in coming if stream.selection is None and stream.error is None])
        for stream in coming:
            if stream.error is None:
                if self._running and self.tokens_in_flight + stream.needed_tokens > self.cache_tokens:
                    break
                with failing(stream):
                    self._load(stream)
                if stream.error is None and stream.merged is None:  # its second look waits for room
                    break
            self._waiting.remove(stream)
            if stream.error is None:
                self._running.append(stream)
        if not self._waiting:
            self._reads.forget()

    def _let_go(self) -> None:
        """Let finished questions leave; the cache of a whole answer may serve again."""
        for stream in [stream for stream in self._running if stream.is_finished]:
            if stream.error is None and stream.merged is not None:
                self._last.keep(stream.merged)
            self.remove(stream)

    def _select(self, streams: list[AnswerStream]) -> None:
        """Choose the chunks' levels; questions that are alike in all but their words are scored together."""
        while streams:
            alike = [each for each in streams if each is streams[0] or each.is_alike(streams[0])]
            streams = [each for each in streams if each not in alike]
            try:
                self._select_alike(alike)
            except Exception:  # one of them; each is told its own reason
                for stream in alike:
                    with failing(stream):
                        self._select_alike([stream])

    def _select_alike(self, streams: list[AnswerStream]) -> None:
        with ExitStack() as stages:
            for stream in streams:
                stages.enter_context(stream.clock("relevance"))
            index = self._reads.of(streams[0].index)
            selections = streams[0].choice.select(index, [stream.question for stream in streams])
            for stream, selection in zip(streams, selections, strict=True):
                stream.choose(selection)

    def _load(self, stream: AnswerStream) -> None:
        """Let a question begin; one that needs more for a second look than there is room for goes on waiting."""
        merged = self._merge(stream)
        if stream.widen is not None and looks_again(stream, merged.cache):
            self._last.keep(merged)
            del merged
            if self._running and self.tokens_in_flight + stream.needed_tokens > self.cache_tokens:
                return
            merged = self._merge(stream)
        stream.begin(merged)

    def _merge(self, stream: AnswerStream) -> MergedCache:
        """The chosen levels of a question in one cache."""
        assert stream.selection is not None
        with stream.clock("load"):
            return merge(
                self.model,
                self._reads.of(stream.index, is_last=len(self._waiting) == 1),
                stream.selection.levels,
                stream.room,
                frames=stream.selection.chosen_frames,
                while_prefilling=partial(stream.clock, "prefill"),
                last=self._last,
            )


@contextmanager
def failing(stream: AnswerStream) -> Iterator[None]:
    """What goes wrong here is this question's failure, and no other's."""
    try:
        yield
    except Exception as error:
        stream.fail(error)
