"""A dual encoder's embeddings of every sampled frame, for oracles that compare them with the question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videox2l.tracks.dual_encoder import DualEncoder
from videox2l.tracks.track import Track
from videox2l.types import Frames, VideoSpec, VideoTokens


@dataclass(frozen=True)
class Embeddings(Track):
    """Normalised embeddings (n, d), and the sampled frame of each, long (n,).

    encoder: what embeds.
    """

    name = "embeddings"
    tensors = ("embeddings", "frame")

    encoder: DualEncoder

    @property
    def needs_tokens(self) -> bool:
        """As the encoder does."""
        return self.encoder.needs_tokens

    def made_of(self, spec: VideoSpec) -> Mapping[str, Any]:
        """The encoder."""
        return {"encoder": self.encoder.fingerprint}

    def make(self, first_frame: int, frames: Frames, tokens: VideoTokens | None) -> tuple[Tensor, ...]:
        """The chunk's embeddings and the frames they are of; of frames that are encoded together, the first."""
        embeddings = self.encoder.embed_frames(frames, tokens)
        frame = torch.arange(len(frames))
        if tokens is not None and self.needs_tokens:
            group = tokens.frame[~tokens.is_text].cpu()
            frame = group * -(-len(frames) // (int(group.max()) + 1))
        return embeddings, first_frame + frame
