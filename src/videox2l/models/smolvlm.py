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
    """transformers' SmolVLMForConditionalGeneration, for video with the chat template that its processor puts first.

    The opening of the first frame belongs to the prompt: it and the introduction share tokens.
    """

    model_type = "smolvlm"
    video_mark = "<video>"
    chat_template = DEFAULT_CHAT_TEMPLATE

    def before_video(self, video: VideoOutline) -> str:
        """The introduction, and the opening of the first frame."""
        try:
            from num2words import num2words
        except ImportError as error:
            raise ModelError(f"{self.name} writes numbers as words: pip install num2words") from error
        duration = timedelta(seconds=int(video.duration_s))
        intro = DEFAULT_VIDEO_INTRO.format(frame_count=num2words(video.frames), video_duration=duration)
        return intro + self.opening(video.start_s)

    def after_video(self) -> str:
        """An empty line."""
        return DEFAULT_MEDIA_OUTTRO

    def opening(self, second: float) -> str:
        """What stands before a frame."""
        time = f"{int(second // 60):02d}:{int(second % 60):02d}"
        return FRAME_TIMESTAMP_MESSAGE.format(timestamp=time) + "<fake_token_around_image><global-img>"

    def visual_tokens(self, frames: Frames, place: ChunkPlace) -> VideoTokens:
        """`Frame from 00:01:` and the image marks around each frame."""
        features = self.model.get_image_features(self.prepare(frames.pixels), return_dict=True).pooler_output[0]
        openings = [self.embed(self.ids(self.opening(second))) for second in frames.timestamps_s.tolist()]
        if place.first_frame == 0:
            openings[0] = openings[0][:0]
        return interleave(
            features.to(self.dtype).unflatten(0, (len(frames), -1)),
            openings,
            [self.embed(self.ids("<fake_token_around_image>"))] * len(frames),
            place.next_position,
        )

    def prepare(self, pixels: Tensor) -> Tensor:
        """(1, T, 3, S, S) normalised pixels."""
        inputs = self.video_processor(videos=[pixels], do_sample_frames=False, do_pad=False, return_tensors="pt")
        values = inputs["pixel_values"]
        return values.to(self.device, self.dtype)
