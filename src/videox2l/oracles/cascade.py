"""A scan of the whole video that costs little, then a close look at the chunks it finds best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from videox2l.checks import check_number
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.oracles.contrastive import Contrastive
from videox2l.oracles.maxsim import MaxSim
from videox2l.oracles.probe import Probe
from videox2l.oracles.registry import ENCODERS
from videox2l.tracks.dual_encoder import DualEncoder

SHORTLIST = 4
"""Chunks for each candidate that are scanned where frame embeddings choose them."""
MANY_CHUNKS = 60
"""With more chunks than this the right one is missed too often to say nothing."""


@dataclass(frozen=True)
class Cascade(Oracle):
    """`MaxSim` of every chunk at a middle level, then `Probe` of the best of them at the finest; the product of both.

    The chunks that were not probed follow in the order of the scan.

    candidates: how many chunks are probed, default 16. More find more, and read more of the finest level.
    level: the level that is scanned, as its nominal compression ratio, default 4. A coarser one costs less and finds
        less. Of an index without it the nearest middle level is scanned; if there is none, the finest ratio, which
        costs more. One without KVs can't be scanned, and all of its chunks are probed.
    encoder: the dual encoder that the video was indexed with: then only four chunks for each candidate are scanned,
        those with the frames most similar to the question. None, the default, scans all.
    batch_tokens: of the probe, default 4096: tokens of KVs and questions in one forward.
    Raises: SettingsError for less than one candidate.
    """

    candidates: int = 16
    level: int = 4
    encoder: DualEncoder | None = field(default=None, repr=False)
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        check_number(self.candidates, 1, "candidates", "chunks")

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """One forward of the question, then a short one per candidate and answer token."""
        everything = torch.arange(len(index.entries))
        if not index.ratios:
            return Probe(batch_tokens=self.batch_tokens).among(everything.tolist(), model, index, question)
        scores = torch.zeros(len(index.entries))
        if self.encoder is not None:
            scores = Contrastive(self.encoder).score(model, index, question).chunks
        shortlist = best(scores, everything, len(everything) if self.encoder is None else SHORTLIST * self.candidates)
        scan = MaxSim(level=self.scanned_level(index)).among(shortlist.tolist(), model, index, question)
        scores = before(scores, shortlist, scan)
        candidates = best(scan, shortlist, self.candidates)
        probe = Probe(batch_tokens=self.batch_tokens).among(candidates.tolist(), model, index, question)
        return before(scores, candidates, scan * probe)

    @property
    def levels(self) -> tuple[int, ...]:
        """The level that is scanned."""
        return (self.level,)

    def scanned_level(self, index: VideoIndex) -> int:
        """The level to scan."""
        if self.level in index.levels:
            return self.level
        middle = index.ratios[1:-1]
        return min(middle, key=lambda level: abs(math.log(level / self.level))) if middle else index.ratios[0]

    def notes(self, index: VideoIndex, question: str) -> tuple[str, ...]:
        """Where the scan read more than it needs to, and where the right chunk is often not found."""
        notes = []
        if not index.ratios:
            notes.append("the index has no KVs to scan, so every chunk was prefilled anew and probed")
        elif len(index.ratios) < 3 and self.scanned_level(index) != self.level:
            notes.append(f"the index has no middle level, so all chunks were scanned at {index.ratios[0]}x")
        if self.encoder is None and len(index.entries) > MANY_CHUNKS:
            notes.append(
                f"among {len(index.entries)} chunks the model alone does not always find the right one: pass an "
                f"encoder, for example --encoder {ENCODERS[0]}"
            )
        return tuple(notes)


def best(scores: Tensor, chunks: Tensor, count: int) -> Tensor:
    """The chunks of highest score among some, (count,) or fewer; of equal ones the earlier."""
    return chunks[scores[chunks].sort(descending=True, stable=True).indices[:count]]


def before(scores: Tensor, chunks: Tensor, better: Tensor) -> Tensor:
    """Scores in which some chunks come first, by another score of theirs, and all others follow as they are ordered.

    scores, better: (all chunks,), of which `better` is 0 or more.
    """
    others = torch.ones_like(scores, dtype=torch.bool).index_fill(0, chunks, False)
    if not others.any():
        return better
    span = scores[others] - scores[others].min()
    behind = span / (span.max() * (1 + 1e-3)).clamp_min(1e-12)  # from 0 to just below 1
    return better.clone().masked_scatter(others, behind * better[chunks].min())
