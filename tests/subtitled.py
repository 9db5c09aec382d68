"""Real subtitles for tests: files beside a video, and streams in it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition
from av.subtitles.codeccontext import SubtitleCodecContext
from videos import numbered_picture

Line = tuple[float, float, str]
"""From when to when, in seconds, and what is said."""

ASS_HEADER = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def stamp(time_s: float, comma: str = ",") -> str:
    """A time as subtitle files write it: 0:01:02,500."""
    minutes, seconds = divmod(time_s, 60)
    return f"{int(minutes) // 60:02d}:{int(minutes) % 60:02d}:{seconds:06.3f}".replace(".", comma)


def srt(lines: Sequence[Line]) -> str:
    return "\n".join(
        f"{number}\n{stamp(start_s)} --> {stamp(end_s)}\n{text}\n"
        for number, (start_s, end_s, text) in enumerate(lines, 1)
    )


def vtt(lines: Sequence[Line]) -> str:
    cues = (
        f"name\n{stamp(start_s, '.')} --> {stamp(end_s, '.')} align:start\n{text}\n" for start_s, end_s, text in lines
    )
    return "WEBVTT\n\nNOTE made for a test\n\n" + "\nNOTE between\n\n".join(cues)


def ass(lines: Sequence[Line]) -> str:
    return ASS_HEADER + "".join(
        f"Dialogue: 0,{stamp(start_s, '.')[1:-1]},{stamp(end_s, '.')[1:-1]},Default,,0,0,0,,{text}\n"
        for start_s, end_s, text in lines
    )


def write_subtitled_video(
    path: Path, codec: str, streams: Sequence[tuple[str, str, Disposition | int, Sequence[Line]]], seconds: int = 12
) -> Path:
    """A video with subtitle streams in it.

    streams: language, title, disposition and lines of each.
    """
    if not hasattr(SubtitleCodecContext, "subtitle_header"):
        pytest.skip("this PyAV can't write subtitle streams")
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=4)
        first = numbered_picture(0)
        video.height, video.width, video.pix_fmt = first.shape[0], first.shape[1], "yuv420p"
        video.options = {"threads": "1", "preset": "ultrafast"}
        made = []
        for language, title, disposition, lines in streams:
            stream = container.add_stream(codec)
            stream.codec_context.subtitle_header = ASS_HEADER.encode()
            stream.time_base = Fraction(1, 1000)
            stream.metadata.update({"language": language, "title": title})
            stream.disposition = disposition
            made.append((stream, lines))
        for number in range(4 * seconds):
            container.mux(video.encode(av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")))
        container.mux(video.encode(None))
        for stream, lines in made:
            for start_s, end_s, text in lines:
                content = text.encode()
                if codec == "mov_text":
                    content = struct.pack(">H", len(content)) + content
                elif codec == "ass":
                    content = b"0,0,Default,,0,0,0,," + content
                packet = av.Packet(content)
                packet.stream, packet.time_base = stream, Fraction(1, 1000)
                packet.pts = packet.dts = round(1000 * start_s)
                packet.duration = round(1000 * (end_s - start_s))
                container.mux(packet)
    return path
