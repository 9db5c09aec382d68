"""A small picture of every sampled frame, for timelines and lists of moments."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from videox2l.tracks.track import Track
from videox2l.types import Frames, VideoSpec, VideoTokens

HEIGHT = 72
"""Of a thumbnail, in pixels; a smaller frame keeps its size."""
QUALITY = 80
"""JPEG's, from 1 to 95."""


class Thumbnails(Track):
    """Every frame as a JPEG: bytes, one after the other, uint8; the size of each in bytes, and when it is shown."""

    name = "thumbnails"
    tensors = ("jpeg", "bytes", "time_s")

    def made_of(self, spec: VideoSpec) -> Mapping[str, Any]:
        """Their size and quality."""
        return {"height": HEIGHT, "quality": QUALITY}

    def make(self, first_frame: int, frames: Frames, tokens: VideoTokens | None) -> tuple[Tensor, ...]:
        """A JPEG of each frame."""
        files = [thumbnail(pixels.permute(1, 2, 0).numpy()) for pixels in frames.pixels]
        jpeg = torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8)
        return jpeg, torch.tensor([len(file) for file in files]), frames.timestamps_s


def thumbnail(pixels: np.ndarray) -> bytes:
    """A frame (H, W, 3) as a small JPEG."""
    image = Image.fromarray(pixels)
    image.thumbnail((image.width, HEIGHT), reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "jpeg", quality=QUALITY)
    return file.getvalue()


@dataclass(frozen=True)
class ThumbnailStrip:
    """A video's thumbnails, as `Thumbnails` made them."""

    jpeg: Tensor
    bytes: Tensor
    time_s: Tensor

    def nearest(self, time_s: float) -> tuple[np.ndarray, float]:
        """The picture of the sampled frame that is nearest to a time, uint8 (h, w, 3), and when it is shown."""
        place = int((self.time_s - time_s).abs().argmin())
        end = int(self.bytes[: place + 1].sum())
        file = self.jpeg[end - int(self.bytes[place]) : end].numpy().tobytes()
        return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")), float(self.time_s[place])
