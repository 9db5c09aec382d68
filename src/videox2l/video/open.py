"""The front door: any source of frames becomes a `Video`."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from videox2l.checks import check_kind, check_video_path
from videox2l.errors import VideoError
from videox2l.video.array import FrameArray, VideoArray
from videox2l.video.file import VideoFile
from videox2l.video.folder import ImageFolder, VideoFolder
from videox2l.video.sampling import Sampling
from videox2l.video.video import Video

Source = str | Path | BinaryIO | ImageFolder | FrameArray | Video
EVERY_SECOND = Sampling()


def open_video(source: Source, sampling: Sampling = EVERY_SECOND) -> Video:
    """Open a video and plan which of its frames are looked at; nothing is decoded yet.

    source: the path of a video file or of a folder of images (taken as 1 frame a second; `ImageFolder` to say
        otherwise), a binary file open for reading, or frames in memory as a `FrameArray`. A `Video` that is open
        already stays as it is, with its own sampling.
    sampling: which frames; by default one a second.

    Raises VideoError if the source can't be read as a video or the sampled range lies outside it.
    """
    check_kind(sampling, Sampling, "sampling", "for example Sampling(fps=2)")
    if isinstance(source, Video):
        return source
    if isinstance(source, FrameArray):
        return VideoArray(source, sampling)
    if isinstance(source, ImageFolder):
        return VideoFolder(source, sampling)
    if isinstance(source, str | Path):
        check_video_path(source)
        path = Path(source)
        return VideoFolder(ImageFolder(path), sampling) if path.is_dir() else VideoFile(path, sampling)
    if hasattr(source, "read"):
        return VideoFile(source, sampling)
    raise VideoError(
        f"an object of type {type(source).__name__} can't be read as a video: give a path, a binary file, an "
        "ImageFolder or a FrameArray"
    )
