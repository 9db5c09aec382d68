"""Opening a video file with libav, and saying in one sentence why it can't be."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from videox2l.errors import VideoError


@contextmanager
def opened(source: Path | BinaryIO, name: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its video stream, decoding on all threads; closed on leaving.

    Raises VideoError if the source is missing, empty, no video, or without a video stream.
    """
    head = _head(source, name)
    try:
        # "file:" so that no name is taken for another protocol or an option
        target = f"file:{source.absolute()}" if isinstance(source, Path) else source
        container = av.open(target, metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError):
        if head[4:8] == b"ftyp":
            raise VideoError(
                f"{name} is an MP4 cut off before its index (no moov atom), nothing in it can be decoded: "
                "get the complete file"
            ) from None
        raise VideoError(f"{name} is not a video in any format that libav reads: give a video file") from None
    with container:
        yield container, _video_stream(container, name)


def _head(source: Path | BinaryIO, name: str) -> bytes:
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                head = file.read(8)
        except FileNotFoundError:
            raise VideoError(f"{source} does not exist: give the path of a video or image folder") from None
        except OSError as error:
            raise VideoError(f"{source} can't be read ({error.strerror}): check its permissions") from None
    else:
        if isinstance(source, io.TextIOBase):
            raise VideoError(f"{name} is open in text mode: open it with mode 'rb'")
        if not source.seekable():
            raise VideoError(f"{name} can't be rewound, it is a pipe or socket: save it to a file first")
        source.seek(0)
        head = source.read(8)
        source.seek(0)
    if not head:
        raise VideoError(f"{name} is an empty file: give a video file")
    return head


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if container.format.name == "tty":  # libav plays plain text as a film of a terminal
        raise VideoError(f"{name} is a text file, not a video: give a video file")
    if not moving:
        found = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream at all"
        raise VideoError(f"{name} has no video stream (it holds: {found}): give a file with a video track")
    best = container.streams.best("video")
    stream = best if best in moving else moving[0]
    if stream.codec_context is None:
        raise VideoError(f"{name} is encoded with a codec libav can't decode: re-encode it to H.264")
    stream.thread_type = "AUTO"
    return stream
