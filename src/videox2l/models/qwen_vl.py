"""What the Qwen VL families share: frames in pairs, grids of patches, M-RoPE positions (time, height, width)."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from transformers.image_utils import SizeDict
from transformers.video_processing_utils import BaseVideoProcessor

from videox2l.errors import VideoError
from videox2l.models.base import DEFAULT_FRAME_TOKENS
from videox2l.models.hugging_face import HuggingFaceMLLM


class QwenVL(HuggingFaceMLLM):
    """A Qwen VL model. The last frame of a video with an odd number of them is doubled, as the family does."""

    video_mark = visual_token = "<|video_pad|>"
    frame_group = 2
    resizes_frames = True

    def text_positions(self, positions: Tensor) -> Tensor:
        """Text stands at the same time, height and width."""
        return positions.expand(3, -1)

    @abstractmethod
    def frame_size(self, height: int, width: int, frames: int) -> tuple[int, int]:
        """The size that the processor gives the frames of a video of so many frames, within `limited` pixels."""

    @property
    def token_side(self) -> int:
        """Height and width of a visual token in pixels."""
        return self.video_processor.patch_size * self.video_processor.merge_size

    def limited(self, least: int, most: int, frames: int = 1) -> tuple[int, int]:
        """Fewest and most pixels of so many frames: the checkpoint's own, changed by `frame_limits`."""
        limits = self.frame_limits
        if limits.min_pixels is not None:
            least = limits.min_pixels * frames
            most = max(least, most)
        if limits.max_pixels is None:
            default = DEFAULT_FRAME_TOKENS * self.token_side**2
            most = min(most, max(default, limits.min_pixels or 0) * frames)
        elif limits.max_pixels:
            most = limits.max_pixels * frames
        return min(least, most), most

    def tokens_per_frame(self, height: int, width: int, frames: int) -> float:
        """Visual tokens that a frame of this size costs before compression, in a video of so many sampled frames."""
        height, width = self.frame_size(height, width, frames)
        return height * width / self.token_side**2 / self.video_processor.temporal_patch_size

    def prepare(self, pixels: Tensor, frames: int) -> dict[str, Tensor]:
        """Patches (T/2 * h * w, patch size) and their grid (1, 3), resized as in a video of so many frames."""
        source_height, source_width = pixels.shape[2:]
        try:
            height, width = self.frame_size(source_height, source_width, frames)
        except ValueError as error:
            size = f"{source_width}x{source_height}"
            raise VideoError(f"{self.name} can't take frames of {size} ({error}): crop or pad the video") from error
        processor = self.video_processor
        resized = BaseVideoProcessor.resize(
            processor, pixels[None], SizeDict(height=height, width=width), processor.resample
        )
        inputs = processor(
            videos=[resized[0]],
            do_resize=False,
            cap_pixels_per_frame=False,  # `frame_size` did it
            do_sample_frames=False,
            return_tensors="pt",
        )
        return {
            "pixel_values_videos": inputs["pixel_values_videos"].to(self.device, self.dtype),
            "video_grid_thw": inputs["video_grid_thw"].to(self.device),
        }

    def grid_times(self, timestamps_s: Tensor) -> Tensor:
        """First and last frame's time of each group that is encoded together, (T / group, 2), in seconds."""
        group = self.video_processor.temporal_patch_size
        missing = -len(timestamps_s) % group
        padded = torch.cat([timestamps_s, timestamps_s[-1:].expand(missing)])
        return padded.unflatten(0, (-1, group))[:, [0, -1]]

    def merged_grid(self, grid_thw: Tensor) -> tuple[int, int, int]:
        """Groups of frames, rows and columns of visual tokens."""
        time, height, width = grid_thw[0].tolist()
        merge = self.config.vision_config.spatial_merge_size
        return time, height // merge, width // merge


def grid_positions(time: Tensor, rows: int, columns: int, start: int) -> Tensor:
    """M-RoPE positions of frames of rows x columns tokens, (3, T * rows * columns).

    time: of each frame, (T,). start: the position of row 0 and of column 0.
    """
    height = start + torch.arange(rows, device=time.device)
    width = start + torch.arange(columns, device=time.device)
    return torch.stack(torch.meshgrid(time, height, width, indexing="ij")).flatten(1)
