"""The subtitles that a video file carries in itself."""

from __future__ import annotations

from dataclasses import dataclass

import av
from av.container import InputContainer
from av.stream import Disposition
from av.subtitles.stream import SubtitleStream as ContainerStream

from videox2l.types import Cue

PICTURES = frozenset({"dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle", "xsub", "dvbsub", "dvdsub", "pgssub"})
"""Codecs of subtitles that are pictures of text."""


@dataclass(frozen=True)
class SubtitleStream:
    """One of a file's subtitle streams.

    number: its place among them, from 1. title, language: what the file calls it; None where it does not say.
    is_picture: whether it holds pictures of text, of which nothing is read.
    cues: what it holds in the order it is stored, each text still with the tags of SubStation Alpha.
    """

    number: int
    title: str | None
    language: str | None
    is_picture: bool
    cues: tuple[Cue, ...]


def read_streams(container: InputContainer, origin_s: float) -> tuple[SubtitleStream, ...]:
    """Every subtitle stream, the one that is shown by default first, and those with foreign dialogue alone last.

    origin_s: the container's time at which the video starts.
    """
    streams = [stream for stream in container.streams.subtitles if stream.codec_context is not None]
    of_text = [stream for stream in streams if stream.codec_context.name not in PICTURES]
    by_index = {stream.index: stream for stream in streams}
    cues: dict[int, list[Cue]] = {index: [] for index in by_index}
    try:
        for packet in container.demux(of_text) if of_text else ():
            if packet.pts is not None and packet.time_base is not None:
                start_s = float(packet.pts * packet.time_base) - origin_s
                end_s = start_s + float((packet.duration or 0) * packet.time_base)
                stream = by_index[packet.stream.index]
                cues[stream.index] += [Cue(start_s, end_s, text) for text in texts(stream, packet)]
    except (av.FFmpegError, IndexError):
        pass  # cut off: what came before it is there, and the pictures' own reading notes the damage
    found = [
        SubtitleStream(
            number=number,
            title=stream.metadata.get("title") or stream.metadata.get("name"),
            language=stream.language,
            is_picture=stream not in of_text,
            cues=tuple(cues[stream.index]),
        )
        for number, stream in enumerate(streams, 1)
    ]
    return tuple(sorted(found, key=lambda stream: _rank(streams[stream.number - 1])))


def texts(stream: ContainerStream, packet: av.Packet) -> list[str]:
    """The texts of a packet: each the last field of a line of SubStation Alpha."""
    try:
        lines = [part.ass.decode(errors="replace") for part in stream.decode(packet) if hasattr(part, "ass")]
    except av.FFmpegError:
        return []
    return [line.split(",", 8)[-1] for line in lines]


def _rank(stream: ContainerStream) -> int:
    if stream.disposition & Disposition.forced:
        return 2
    return 0 if stream.disposition & Disposition.default else 1
