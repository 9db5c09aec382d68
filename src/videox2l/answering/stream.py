"""An answer while it is decoded: its pieces of text, and the seconds each stage takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from videox2l.answering.answer import Answer, FirstLook
from videox2l.answering.generation import AnswerTokens, Generation
from videox2l.answering.moments import answer_moments
from videox2l.answering.text import AnswerText
from videox2l.errors import QuestionError, VideoX2LError
from videox2l.index.reload import MergedCache
from videox2l.index.video_index import ChunkEntry, VideoIndex
from videox2l.models.base import MLLM
from videox2l.types import ChunkReport, Cue, Selection

if TYPE_CHECKING:
    from videox2l.answering.scheduler import Scheduler


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


class Choice(Protocol):
    """What chooses the level of every chunk; questions with equal ones about one video are scored together."""

    def select(self, index: VideoIndex, questions: Sequence[str]) -> list[Selection]:
        """For each question the chunks' levels."""


@dataclass(frozen=True)
class QuestionText:
    """A question as the model reads it.

    ids: the token ids of all that stands behind the video, (n,).
    cues: the subtitles that stand before the question.
    notes: what the user should know about these.
    """

    ids: Tensor
    cues: tuple[Cue, ...] = ()
    notes: tuple[str, ...] = ()


class AnswerStream:
    """An answer as it is decoded: an iterator over pieces of text, and `.answer` once they are all taken.

    Whoever takes a piece runs the scheduler that has the question, and with it all questions that it answers at once.

    model, index: what answers, and about which video.
    question: what is asked.
    choice: what chooses the chunks' levels.
    write: says how the model reads the question once they are chosen.
    generation: how the answer is decoded.
    scheduler: what answers the question, by itself or together with others.
    notes: what the user should know, before anything is chosen.
    piece: called with every piece of text as it is decoded.
    finished: called once with the finished answer.
    widen: makes a wider selection for a second look; None, the default, where there is to be none.
    token_ids: the ids of the answer so far.
    is_finished: whether no text is decoded any more: the answer is complete, was cancelled, or failed.
    error: why it failed, if it did.
    first_look: what was read before a second look; None where there was none.
    """

    def __init__(
        self,
        *,
        model: MLLM,
        index: VideoIndex,
        question: str,
        choice: Choice,
        write: Callable[[Selection], QuestionText],
        generation: Generation,
        scheduler: Scheduler,
        notes: tuple[str, ...] = (),
        piece: Callable[[str], None] = lambda _: None,
        finished: Callable[[Answer], None] = lambda _: None,
        widen: Callable[[Selection, VideoIndex], Selection | None] | None = None,
    ):
        self.model, self.index, self.question = model, index, question
        self.choice, self.generation = choice, generation
        self.clock = Clock()
        self.selection: Selection | None = None
        self.asked: QuestionText | None = None
        self.merged: MergedCache | None = None
        self.tokens: AnswerTokens | None = None
        self.token_ids: list[int] = []
        self.is_finished = False
        self.error: Exception | None = None
        self.widen = widen
        self.first_look: FirstLook | None = None
        self._scheduler, self._write, self._notes = scheduler, write, notes
        self._tell_piece, self._tell_finished = piece, finished
        self._words = AnswerText(model.tokenizer, generation.stop)
        self._waiting_pieces: deque[str] = deque()
        self._text = ""
        self._draft: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while not self._waiting_pieces and not self.is_finished:
            self._scheduler.step()
        if self._waiting_pieces:
            return self._waiting_pieces.popleft()
        if self.error is not None:
            raise self.error
        raise StopIteration

    @property
    def answer(self) -> Answer:
        """The finished answer; what is left of it is decoded first.

        Raises: what made the question fail; QuestionError if it was cancelled before it began.
        """
        while not self.is_finished:
            self._scheduler.step()
        if self.error is not None:
            raise self.error
        assert self._draft is not None
        return replace(self._draft, text=self._text.strip(), timings_s=dict(self.clock.seconds))

    def cancel(self) -> None:
        """Decode no more and free the cache; the answer is then what there is of it, and says so in a note."""
        if self.is_finished:
            return
        self._scheduler.remove(self)
        self.is_finished = True
        if self._draft is None:
            self.error = QuestionError(
                f"the question {self.question!r} was cancelled before it was begun: ask it again"
            )
        else:
            self._draft = replace(self._draft, notes=(*self._draft.notes, "cancelled: the answer is not complete"))

    @property
    def outcome(self) -> Answer | VideoX2LError:
        """The finished answer, or the error that the question failed with. Raises: errors of other kinds."""
        try:
            return self.answer
        except VideoX2LError as error:
            return error

    # what the scheduler calls

    def is_alike(self, other: AnswerStream) -> bool:
        """Whether another question differs in its words alone, so that both can be scored together."""
        try:
            is_same_video = (self.index.key, self.index.subtitles) == (other.index.key, other.index.subtitles)
            return is_same_video and self.choice == other.choice
        except Exception:  # an oracle of someone else's may hold what can't be compared
            return False

    def choose(self, selection: Selection) -> None:
        """Take the chosen levels, and write the question."""
        self.selection, self.asked = selection, self._write(selection)

    @property
    def room(self) -> int:
        """Tokens that question and answer take behind the video; a longer answer makes its own room."""
        assert self.asked is not None
        return len(self.asked.ids) + min(self.generation.max_new_tokens, self.model.max_positions)

    @property
    def needed_tokens(self) -> int:
        """Tokens that its cache has room for: prompt, video, question and the longest answer."""
        assert self.selection is not None
        return self.index.tokens(self.selection.levels, self.selection.chosen_frames) + self.room

    @property
    def stage(self) -> str:
        """The stage that the seconds count for while it is decoded."""
        return "first_token" if self.tokens is not None and self.tokens.is_first else "decode"

    def begin(self, merged: MergedCache) -> None:
        """Begin to decode from the chosen levels, merged in one cache."""
        assert self.selection is not None and self.asked is not None
        self.merged = merged
        self.tokens = AnswerTokens(self.model, merged.cache, self.asked.ids, self.generation)
        context = context_notes(self.model, merged.cache.next_position + len(self.asked.ids))
        notes = (*self._notes, *self.selection.notes, *self.asked.notes, *context)
        selection = replace(self.selection, notes=notes)
        made = draft(self.model, self.index, self.question, self.asked.cues, selection)
        self._draft = replace(made, first_look=self.first_look)

    def take(self, token: int) -> None:
        """The next token of the answer, or the one that ends it."""
        tokens = self.tokens
        assert tokens is not None
        if tokens.take(token):
            self.token_ids.append(token)
            self._say(self._words.take(token))
        if tokens.is_finished or self._words.is_stopped:
            self._say(self._words.rest())
            if not self.is_finished:  # who is told a piece may cancel the question
                self.is_finished = True
                self._tell_finished(self.answer)

    def fail(self, error: Exception) -> None:
        """Give up; whoever asks for the answer is told why."""
        self.error, self.is_finished = error, True

    def _say(self, piece: str) -> None:
        if piece:
            self._text += piece
            self._waiting_pieces.append(piece)
            self._tell_piece(piece)


def draft(model: MLLM, index: VideoIndex, question: str, cues: tuple[Cue, ...], selection: Selection) -> Answer:
    """All of an answer but its text and its seconds."""
    reports = tuple(chunk_report(entry, selection) for entry in index.entries)
    chosen = [reports[chunk] for chunk in selection.moments]
    unknown = model.unknown_words(question)
    notes = (f"{model.name} does not know: {', '.join(unknown)}",) if unknown else ()
    return Answer(
        text="",
        chunks=reports,
        cache_tokens=index.tokens(selection.levels, selection.chosen_frames),
        full_cache_tokens=index.full_tokens,
        timings_s={},
        model=model.name,
        index_reused=index.reused,
        question=question,
        moments=selection.named or answer_moments(chosen, selection.frames, index.spec.video.end_s),
        cues=cues,
        selection=selection,
        index=index,
        notes=(*index.notes, *selection.notes, *notes),
    )


def context_notes(model: MLLM, positions: int) -> tuple[str, ...]:
    """Says so where video and question reach beyond the positions that the model was trained on."""
    if positions <= model.max_positions:
        return ()
    return (
        f"video and question take {positions} positions and {model.name} was trained on {model.max_positions}: the "
        "answer may be wrong; choose coarser levels or a part of the video",
    )
