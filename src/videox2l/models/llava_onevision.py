"""LLaVA-OneVision (arXiv 2408.03326): SigLIP features pooled 2x2, Qwen2, one learned newline behind the video."""

from __future__ import annotations

import torch
from torch import Tensor

from videox2l.models.hugging_face import HuggingFaceMLLM
from videox2l.types import ChunkPlace, Frames, VideoTokens


class LlavaOnevision(HuggingFaceMLLM):
    """transformers' LlavaOnevisionForConditionalGeneration."""

    model_type = "llava_onevision"
    video_mark = visual_token = "<video>"

    def visual_tokens(self, frames: Frames, place: ChunkPlace) -> VideoTokens:
        """The frames' pooled features; behind the last frame, as text, the learned newline."""
        pixels = self.prepare(frames.pixels)
        features = self.model.get_video_features(pixels, return_dict=True).pooler_output[0]  # (F * n + 1, hidden)
        features = features.to(self.device, self.dtype)
        visual = features.shape[0] - 1
        if not place.is_last:
            features = features[:-1]
        is_text = torch.arange(len(features), device=features.device) >= visual
        frame = torch.arange(len(features), device=features.device) // (visual // len(frames))
        positions = torch.arange(place.next_position, place.next_position + len(features), device=features.device)
        return VideoTokens(features, positions, is_text, frame.clamp(max=len(frames) - 1))

    def prepare(self, pixels: Tensor) -> Tensor:
        """(1, T, 3, S, S) normalised pixels."""
        inputs = self.video_processor(videos=[pixels], do_sample_frames=False, return_tensors="pt")
        return inputs["pixel_values_videos"].to(self.device, self.dtype)
