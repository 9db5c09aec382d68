"""A dual encoder's relevance: cosine of the question with the frames, embedded when the video was indexed."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.tracks.dual_encoder import DualEncoder
from videox2l.types import FrameScores, Scores


@dataclass(frozen=True)
class Contrastive(Oracle):
    """Cosine of the question with each of a chunk's embeddings, maximum over them (CLIP, arXiv 2103.00020).

    encoder: the dual encoder the video was indexed with; it has no default.
    """

    encoder: DualEncoder = field(repr=False)

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Scores:
        """One text embedding, one matrix product."""
        frames = frame_scores(self.encoder, question, *index.embeddings(self.encoder))
        starts = torch.tensor([chunk.start_s for chunk in index.chunks], dtype=torch.float64)
        chunk = torch.bucketize(frames.time_s, starts, right=True) - 1  # (n,)
        chunks = torch.full((len(starts),), -1.0).scatter_reduce(0, chunk, frames.scores, "amax")
        return Scores(chunks, frames)

    def notes(self, index: VideoIndex, question: str) -> tuple[str, ...]:
        """Where the question was cut, if it is longer than the text tower takes."""
        words, read = len(question.split()), len(self.encoder.readable(question).split())
        if read == words:
            return ()
        return (f"the contrastive oracle read {read} of the question's {words} words: its encoder takes no more",)


def frame_scores(encoder: DualEncoder, text: str, embeddings: Tensor, time_s: Tensor) -> FrameScores:
    """Cosine of a text with each frame, maximum over the frame's embeddings.

    embeddings, time_s: as the track of them holds, (n, d) and (n,).
    """
    times, frame = time_s.unique(return_inverse=True)
    cosines = embeddings.float() @ encoder.embed_text(text).cpu()  # (n,)
    scores = torch.full((len(times),), -1.0).scatter_reduce(0, frame, cosines, "amax")
    return FrameScores(times, scores, encoder.match(scores))
