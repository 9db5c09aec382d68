"""Qwen2.5-VL (arXiv 2502.13923): the video is one block of M-RoPE positions whose time runs in true seconds."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.models.qwen2_vl.video_processing_qwen2_vl import smart_resize

from videox2l.models.qwen_vl import QwenVL, grid_positions
from videox2l.types import ChunkPlace, Frames, VideoTokens


class Qwen2_5VL(QwenVL):
    """transformers' Qwen2_5_VLForConditionalGeneration.

    Positions are computed here: a position of time is the frame's second times `tokens_per_second`, and text goes on
    behind the largest position, as in the paper. transformers 5.23 lets it go on behind the larger of height and width,
    inside the positions of a long video.
    """

    model_type = "qwen2_5_vl"
    positions = "original"  # nothing else tells it how much time lies between frames

    def visual_tokens(self, frames: Frames, place: ChunkPlace) -> VideoTokens:
        """The frames' features, pair by pair; no text stands among them."""
        inputs = self.prepare(frames.pixels, place.video.frames)
        features = self.model.get_video_features(**inputs, return_dict=True).pooler_output[0]  # (n, hidden)
        groups, rows, columns = self.merged_grid(inputs["video_grid_thw"])
        start = len(self.prompt_ids(place.video))
        seconds = (self.grid_times(frames.timestamps_s)[:, 0] - place.video.start_s).to(features.device)
        time = start + (seconds * self.config.vision_config.tokens_per_second + 1e-4).floor().long()
        return VideoTokens(
            features.to(self.dtype),
            grid_positions(time, rows, columns, start),
            torch.zeros(len(features), dtype=torch.bool, device=features.device),
            torch.arange(groups, device=features.device).repeat_interleave(rows * columns),
        )

    def contiguous(self, positions: Tensor, before: Tensor) -> Tensor:
        """Times follow each other without gaps; heights and widths stay, they are the same all through the video."""
        time = positions[0].unique(return_inverse=True)[1] + int(before[0].max()) + 1
        return torch.stack([time, positions[1], positions[2]])

    def frame_size(self, height: int, width: int, frames: int) -> tuple[int, int]:
        """By pixels per frame; where the processor caps a video's pixels, by the number of frames too."""
        processor = self.video_processor
        factor = processor.patch_size * processor.merge_size
        least, most = processor.size["shortest_edge"], processor.size["longest_edge"]
        if processor.cap_pixels_per_frame:
            total = int(processor.max_video_tokens * factor * factor * 0.9)
            most = max(min(most, total * processor.temporal_patch_size // frames), int(least * 1.05))
        return smart_resize(height, width, factor, least, most)
