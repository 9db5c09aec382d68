"""Qwen2.5-VL (arXiv 2502.13923): as Qwen2-VL, but its positions of time run in true seconds."""

from __future__ import annotations

from torch import Tensor

from videox2l.models.qwen2_vl import Qwen2VL
from videox2l.types import ChunkPlace, Frames


class Qwen2_5VL(Qwen2VL):
    """transformers' Qwen2_5_VLForConditionalGeneration."""

    model_type = "qwen2_5_vl"
    positions = "original"  # nothing else tells it how much time lies between frames

    def time_steps(self, frames: Frames, place: ChunkPlace) -> Tensor:
        """A pair's second from the beginning of the video, times the steps a second has."""
        seconds = self.grid_times(frames.timestamps_s)[:, 0] - place.video.start_s
        return (seconds * self.config.vision_config.tokens_per_second + 1e-4).floor().long()
