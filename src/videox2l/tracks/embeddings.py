"""A dual encoder's embeddings of every sampled frame, for oracles that compare them with the question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from videox2l.tracks.dual_encoder import DualEncoder
from videox2l.tracks.track import Track
from videox2l.types import Frames, VideoSpec, VideoTokens


@dataclass(frozen=True)
class Embeddings(Track):
    """Normalised embeddings (n, d), and when the frame of each is shown, float64 (n,), in seconds.

    encoder: what embeds.
    """

    name = "embeddings"
    tensors = ("embeddings", "time_s")

    encoder: DualEncoder

    @property
    def needs_tokens(self) -> bool:
        """As the encoder does."""
        return self.encoder.needs_tokens

    def made_of(self, spec: VideoSpec) -> Mapping[str, Any]:
        """The encoder."""
        return {"encoder": self.encoder.fingerprint}

    def make(self, first_frame: int, frames: Frames, tokens: VideoTokens | None) -> tuple[Tensor, ...]:
        """The chunk's embeddings and their frames' times; of frames that are encoded together, the first's."""
        embeddings = self.encoder.embed_frames(frames, tokens)
        if tokens is None or not self.needs_tokens:
            return embeddings, frames.timestamps_s
        group = tokens.frame[~tokens.is_text].cpu()
        size = -(-len(frames) // (int(group.max()) + 1))  # frames that are encoded together
        return embeddings, frames.timestamps_s[group * size]
