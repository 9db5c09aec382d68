"""Several oracles' rankings as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.types import Scores


@dataclass(frozen=True)
class Fusion(Oracle):
    """Reciprocal rank fusion: the sum over oracles of 1 / (constant + rank) (Cormack et al., SIGIR 2009).

    Ranks need no common scale, so a probability and a cosine fuse as they are; chunks of equal score share the mean of
    their ranks.

    oracles: two or more, in any order; they have no default.
    constant: how little the first ranks stand out from the next ones; 60, the default, is the published value.
    Raises: SettingsError for fewer than two oracles.
    """

    oracles: tuple[Oracle, ...]
    constant: float = 60.0

    def __post_init__(self) -> None:
        if len(self.oracles) < 2:
            raise SettingsError("fusion needs two or more oracles, as in attention+contrastive")

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Scores:
        """Every oracle once; single frames are scored, and moments named, by the first that does."""
        return self.relevances(model, index, [question])[0]

    def relevances(self, model: MLLM, index: VideoIndex, questions: Sequence[str]) -> list[Scores]:
        """Every oracle once for all questions."""
        given = [oracle.score_all(model, index, questions) for oracle in self.oracles]
        return [self._fused(of_one) for of_one in zip(*given, strict=True)]

    def _fused(self, given: tuple[Scores, ...]) -> Scores:
        fused = torch.zeros_like(given[0].chunks)
        for scores in (each.chunks for each in given):
            above = (scores > scores[:, None]).sum(dim=1)
            equal = (scores == scores[:, None]).sum(dim=1)
            fused += 1 / (self.constant + above + (equal + 1) / 2)
        return Scores(
            fused,
            frames=next((each.frames for each in given if each.frames), None),
            named=next((each.named for each in given if each.named), ()),
            subtitles=next((each.subtitles for each in given if each.subtitles), None),
        )

    def notes(self, index: VideoIndex, question: str) -> tuple[str, ...]:
        """The oracles' own notes."""
        return tuple(note for oracle in self.oracles for note in oracle.notes(index, question))

    @property
    def levels(self) -> tuple[int, ...]:
        """The oracles' own levels."""
        return tuple(level for oracle in self.oracles for level in oracle.levels)

    @property
    def takes_times(self) -> bool:
        """Whether all of the oracles do."""
        return all(oracle.takes_times for oracle in self.oracles)

    @property
    def takes_subtitles(self) -> bool:
        """Whether all of the oracles do."""
        return all(oracle.takes_subtitles for oracle in self.oracles)
