"""Folders of images, one image a frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from videox2l.errors import SettingsError, VideoError
from videox2l.video.fingerprint import file_fingerprint, fingerprint
from videox2l.video.sampling import Sampling
from videox2l.video.video import Video

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images, as a source for `open_video`: image i is shown at i / fps seconds.

    The order is natural: frame2.png comes before frame10.png. Images of another size are resized to
    the first one's.
    """

    path: str | Path
    fps: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise SettingsError(f"fps={self.fps} is not a frame rate: give a number above 0")


class VideoFolder(Video):
    """A video over a folder of images.

    Raises VideoError if the folder is missing or holds no image.
    """

    def __init__(self, source: ImageFolder, sampling: Sampling) -> None:
        path = Path(source.path)
        if not path.is_dir():
            raise VideoError(f"{path} is not a folder: give the path of a folder of images")
        self._path = path
        self._images = sorted(
            (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()),
            key=_natural,
        )
        if not self._images:
            raise VideoError(
                f"{path} is a folder without images: give one with {', '.join(sorted(IMAGE_SUFFIXES))} files"
            )
        first = next(filter(None, map(_image, self._images)), None)
        if first is None:
            raise VideoError(f"{path}: none of its {len(self._images)} images can be read: give intact files")
        self._size = first.size  # (width, height)
        total = len(self._images)
        super().__init__(path.name, np.arange(total) / source.fps, total / source.fps, source.fps, sampling)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    def fingerprint(self) -> str:
        """Hex digest of the bytes of every image in order."""
        digests = (file_fingerprint(image).encode() for image in self._images)
        return fingerprint(digests)

    def _read(self, picks: np.ndarray) -> Iterator[tuple[int, Tensor]]:
        for frame in picks.tolist():
            image = _image(self._images[frame])
            if image is None:
                continue
            if image.size != self._size:
                self._resized.add(frame)
                image = image.resize(self._size)
            yield frame, torch.from_numpy(np.array(image))


def _image(file: Path) -> Image.Image | None:
    """The image upright in RGB; None if it is damaged."""
    try:
        with Image.open(file) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _natural(file: Path) -> list[tuple[int, str]]:
    """Sort key in which numbers count by value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file.name.lower())]
