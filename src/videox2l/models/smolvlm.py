"""SmolVLM2 (arXiv 2504.05299): an introduction that counts the frames, then every frame behind its time in text."""

from __future__ import annotations

from datetime import timedelta

from torch import Tensor
from transformers.models.smolvlm.processing_smolvlm import (
    DEFAULT_CHAT_TEMPLATE,
    DEFAULT_MEDIA_OUTTRO,
    DEFAULT_VIDEO_INTRO,
    FRAME_TIMESTAMP_MESSAGE,
)

from videox2l.errors import ModelError
from videox2l.models.hugging_face import HuggingFaceMLLM
from videox2l.models.interleaved import interleave
from videox2l.types import ChunkPlace, Frames, VideoOutline, VideoTokens


class SmolVLM(HuggingFaceMLLM):
    """transformers' SmolVLMForConditionalGeneration, for video with the chat template that its processor puts first."""

    model_type = "smolvlm"
    video_mark = "<video>"
    visual_token = "<image>"
    chat_template = DEFAULT_CHAT_TEMPLATE

    def before_video(self, video: VideoOutline) -> str:
        """The introduction."""
        try:
            from num2words import num2words
        except ImportError as error:
            raise ModelError(f"{self.name} needs num2words, which is not installed: pip install num2words") from error
        duration = timedelta(seconds=int(video.duration_s))
        return DEFAULT_VIDEO_INTRO.format(frame_count=num2words(video.frames), video_duration=duration)

    def first_frame_text(self, video: VideoOutline) -> str:
        """Its time, and the image's opening marks."""
        return frame_text(video.start_s)

    def after_video(self) -> str:
        """An empty line."""
        return DEFAULT_MEDIA_OUTTRO

    def visual_tokens(self, frames: Frames, place: ChunkPlace) -> VideoTokens:
        """`Frame from 00:01:` and the image marks around each frame."""
        features = self.model.get_image_features(self.prepare(frames.pixels), return_dict=True).pooler_output[0]
        openings = [
            self.embed(self.frame_text_ids(frame_text(second), frame, place))
            for frame, second in enumerate(frames.timestamps_s.tolist())
        ]
        return interleave(
            features.to(self.device, self.dtype).unflatten(0, (len(frames), -1)),
            openings,
            [self.embed(self.ids("<fake_token_around_image>"))] * len(frames),
            place.next_position,
        )

    def prepare(self, pixels: Tensor) -> Tensor:
        """(1, T, 3, S, S) normalised pixels."""
        inputs = self.video_processor(videos=[pixels], do_sample_frames=False, do_pad=False, return_tensors="pt")
        values = inputs["pixel_values"]
        return values.to(self.device, self.dtype)


def frame_text(second: float) -> str:
    """What stands before a frame."""
    time = f"{int(second // 60):02d}:{int(second % 60):02d}"
    return FRAME_TIMESTAMP_MESSAGE.format(timestamp=time) + "<fake_token_around_image><global-img>"
