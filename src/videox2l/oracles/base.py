"""What a relevance oracle is: a question and an index in, a score for every chunk out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM


class Oracle(ABC):
    """Scores every chunk's relevance to a question; higher is more relevant.

    decides: the scores are the choice itself: chunks above 0 are selected, whatever k is.
    """

    decides: ClassVar[bool] = False

    @abstractmethod
    def score(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """Relevance of each chunk to the question, fp32 (chunks,)."""

    def notes(self, question: str) -> tuple[str, ...]:
        """What the user should know of how the question was read."""
        return ()
