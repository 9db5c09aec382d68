"""What a relevance oracle is: a question and an index in, a score for every chunk out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from videox2l.errors import ModelError, SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.levels import FRESH, Level, level_list, plain_level
from videox2l.models.base import MLLM
from videox2l.types import Scores


class Oracle(ABC):
    """Scores every chunk's relevance to a question; a selector makes levels of the scores.

    An oracle is a frozen dataclass with one method, `relevance`. Everybody else calls `score`, or `score_all` for
    several questions about one video.
    """

    @abstractmethod
    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor | Scores:
        """Relevance of each chunk to the question, finite, (chunks,), or with that of single frames beside it."""

    def relevances(self, model: MLLM, index: VideoIndex, questions: Sequence[str]) -> Sequence[Tensor | Scores]:
        """`relevance` of several questions; an oracle that reads them in one run of the model says so here."""
        return [self.relevance(model, index, question) for question in questions]

    def score(self, model: MLLM, index: VideoIndex, question: str) -> Scores:
        """`relevance` in fp32 on the host, every value of the chunks' finite.

        Raises: ModelError for a score that is not a finite number; SettingsError if there is not one for each chunk.
        """
        return self._checked(self.relevance(model, index, question), model, index)

    def score_all(self, model: MLLM, index: VideoIndex, questions: Sequence[str]) -> list[Scores]:
        """`score` of several questions, which may take less time than one after the other."""
        return [self._checked(given, model, index) for given in self.relevances(model, index, questions)]

    def _checked(self, given: Tensor | Scores, model: MLLM, index: VideoIndex) -> Scores:
        given = given if isinstance(given, Scores) else Scores(given)
        scores = given.chunks.float().cpu()
        chunks, name = len(index.entries), type(self).__name__
        if scores.shape != (chunks,):
            raise SettingsError(
                f"{name} gave scores of shape {tuple(scores.shape)}: {chunks} chunks need one score each"
            )
        if not scores.isfinite().all():
            chunk = int((~scores.isfinite()).nonzero()[0])
            raise ModelError(
                f"{name} gave chunk {chunk} the score {scores[chunk]:g}: choose another oracle, or another dtype if "
                f"{model.name} overflows in this one"
            )
        return replace(given, chunks=scores)

    def notes(self, index: VideoIndex, question: str) -> tuple[str, ...]:
        """What the user should know about how the question was read."""
        return ()

    @property
    def takes_times(self) -> bool:
        """Whether an engine may put the times that a question names before its scores."""
        return True

    @property
    def takes_subtitles(self) -> bool:
        """Whether an engine may put the words that are said before its scores."""
        return True

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels it was told to read."""
        return ()


@dataclass(frozen=True)
class KVOracle(Oracle):
    """An oracle that reads every chunk's KVs at one level.

    level: the level, as its nominal compression ratio. None, the default, is the coarsest one, which costs least; a
        finer one holds more to find. At FRESH, which None is only where the index has no KVs, chunks are prefilled
        anew for every question.
    """

    reads_finest: ClassVar[bool] = False
    """Whether None is the finest ratio instead."""
    reads_fresh: ClassVar[bool] = True
    """Whether it can read chunks that have to be prefilled."""

    level: Level | None = field(default=None, kw_only=True)

    @property
    def levels(self) -> tuple[int, ...]:
        """The level, where it is given by its ratio."""
        return () if self.level is None else (self.level,)

    def level_in(self, index: VideoIndex) -> int:
        """The level to read. Raises: SettingsError if the index does not have it."""
        level = self.level
        if level is None:
            level = (index.ratios or (FRESH,))[0 if self.reads_finest else -1]
        if level not in index.levels or (level == FRESH and not self.reads_fresh):
            name, has = type(self).__name__, level_list(index.levels).replace(",", ", ")
            raise SettingsError(f"{name} can't read level {plain_level(level)}: the index has levels {has}")
        return level
