"""A dual encoder's relevance: cosine of the question with the frames, embedded when the video was indexed."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.tracks.dual_encoder import DualEncoder


@dataclass(frozen=True)
class Contrastive(Oracle):
    """Cosine of the question with each of a chunk's embeddings, maximum over them (CLIP, arXiv 2103.00020).

    encoder: the dual encoder the video was indexed with; it has no default.
    """

    encoder: DualEncoder = field(repr=False)

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """One text embedding, one matrix product."""
        text = self.encoder.embed_text(question).cpu()  # (d,)
        embeddings, frame = index.embeddings(self.encoder)
        ends = torch.tensor([chunk.end_frame for chunk in index.chunks])
        chunk = torch.bucketize(frame, ends, right=True)  # (n,)
        return torch.full((len(ends),), -1.0).scatter_reduce(0, chunk, embeddings.float() @ text, "amax")

    def notes(self, question: str) -> tuple[str, ...]:
        """Where the question was cut, if it is longer than the text tower takes."""
        words, read = len(question.split()), len(self.encoder.readable(question).split())
        if read == words:
            return ()
        return (f"the contrastive oracle read {read} of the question's {words} words: its encoder takes no more",)
