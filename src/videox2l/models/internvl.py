"""InternVL3 (arXiv 2504.10479): every frame is one tile between image marks, behind its number in text."""

from __future__ import annotations

from torch import Tensor

from videox2l.models.hugging_face import HuggingFaceMLLM
from videox2l.models.interleaved import interleave
from videox2l.types import ChunkPlace, Frames, VideoOutline, VideoTokens


class InternVL(HuggingFaceMLLM):
    """transformers' InternVLForConditionalGeneration."""

    model_type = "internvl"
    video_mark = "<video>"
    visual_token = "<IMG_CONTEXT>"

    def first_frame_text(self, video: VideoOutline) -> str:
        """Its number, and the image's opening mark."""
        return frame_text(0)

    def visual_tokens(self, frames: Frames, place: ChunkPlace) -> VideoTokens:
        """`Frame1: <img>`, the frame, `</img>`, frame after frame."""
        features = self.model.get_image_features(self.prepare(frames.pixels), return_dict=True).pooler_output
        openings = [
            self.embed(self.frame_text_ids(frame_text(place.first_frame + frame), frame, place))
            for frame in range(len(frames))
        ]
        closing = self.embed(self.ids("</img>"))
        return interleave(
            features.to(self.device, self.dtype),
            openings,
            [closing] * len(frames),
            place.next_position,
        )

    def prepare(self, pixels: Tensor) -> Tensor:
        """(T, 3, S, S) normalised pixels."""
        inputs = self.video_processor(videos=[pixels], do_sample_frames=False, return_tensors="pt")
        return inputs["pixel_values_videos"][0].to(self.device, self.dtype)


def frame_text(frame: int) -> str:
    """What stands before a frame of the video."""
    return ("\n" if frame else "") + f"Frame{frame + 1}: <img>"
