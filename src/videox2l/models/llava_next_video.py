"""LLaVA-NeXT-Video: CLIP features pooled 2x2, frame after frame, and no text among them."""

from __future__ import annotations

from torch import Tensor

from videox2l.models.hugging_face import HuggingFaceMLLM
from videox2l.types import ChunkPlace, Frames, VideoTokens


class LlavaNextVideo(HuggingFaceMLLM):
    """transformers' LlavaNextVideoForConditionalGeneration."""

    model_type = "llava_next_video"
    video_mark = visual_token = "<video>"

    def visual_tokens(self, frames: Frames, place: ChunkPlace) -> VideoTokens:
        """The frames' pooled features."""
        pixels = self.prepare(frames.pixels)
        features = self.model.get_video_features(pixels, return_dict=True).pooler_output[0]  # (F * n, hidden)
        features = features.to(self.device, self.dtype)
        return VideoTokens.of_frames(features.unflatten(0, (len(frames), -1)), place.next_position)

    def prepare(self, pixels: Tensor) -> Tensor:
        """(1, T, 3, S, S) normalised pixels."""
        inputs = self.video_processor(videos=[pixels], do_sample_frames=False, return_tensors="pt")
        return inputs["pixel_values_videos"].to(self.device, self.dtype)
