"""Cut a part out of a video: its packets are copied where a keyframe stands close before it, else it is encoded."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from videox2l.errors import StoreError, VideoError
from videox2l.video.container import opened
from videox2l.video.file import VideoFile
from videox2l.video.packets import demux, land
from videox2l.video.video import Video

KEYFRAME_WITHIN_S = 0.5
"""How long before the part a keyframe may stand for packets to be copied: the clip then begins with the keyframe."""

COPIED_AS = {"mov,mp4,m4a,3gp,3g2,mj2": ".mp4", "matroska,webm": ".mkv"}
"""Containers whose packets are copied, by libav's name, and the ending of the clip."""

FORMATS = {".mp4": "mp4", ".mkv": "matroska"}
ENCODER = {"preset": "veryfast", "crf": "18", "bf": "0"}
TICK_S = Fraction(1, 90_000)
"""Time base of encoded clips: every usual frame rate divides it."""


@dataclass(frozen=True)
class Clip:
    """A part of a video in a file of its own.

    file: where it is.
    start_s, end_s: what it shows, in seconds of the video it was cut out of.
    is_copied: whether its packets were copied; else it was encoded anew.
    notes: what the user should know, as a sound track that was left out.
    """

    file: Path
    start_s: float
    end_s: float
    is_copied: bool
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The clip as plain data."""
        return asdict(self) | {"file": str(self.file), "notes": list(self.notes)}


def cut_clip(video: Video, start_s: float, end_s: float, stem: Path) -> Clip:
    """Cut a part out of a video.

    The packets of an MP4 or Matroska file are copied where a keyframe stands at most `KEYFRAME_WITHIN_S` before the
    part: the clip begins with the keyframe and may end a few frames late. Otherwise the clip is encoded as H.264 in an
    MP4 and shows exactly the part. The sound is copied either way where the clip's container can hold it.

    video: what to cut. start_s, end_s: the part, in seconds of the video, end exclusive; only what lies inside of the
    video is cut. stem: the file to write, without its ending.
    Raises: StoreError if the file can't be written; VideoError if no frame of the part decodes.
    """
    start_s, end_s = max(start_s, 0.0), min(end_s, video.duration_s)
    try:
        clip = copy_packets(video, start_s, end_s, stem) if isinstance(video, VideoFile) else None
        return clip or encode(video, start_s, end_s, stem)
    except (OSError, av.FFmpegError) as error:
        raise StoreError(f"can't write {stem} ({error.strerror}): free some space or choose another place") from error


def copy_packets(video: VideoFile, start_s: float, end_s: float, stem: Path) -> Clip | None:
    """A clip of the video's own packets; None where they can't be copied."""
    index, frames = video.packets, video.frame_range(start_s, end_s)
    if not (index.timed and index.seekable):
        return None
    shown = index.shown[frames.start : frames.stop]
    keys = np.flatnonzero(index.key)
    key = int(keys[np.searchsorted(index.ticks[keys], index.ticks[shown[0]], side="right") - 1])
    # what is decoded after the keyframe and shown before it needs frames before the keyframe
    wanted = [place for place in range(key, int(shown.max()) + 1) if index.ticks[place] >= index.ticks[key]]
    with opened(video.source, video.name) as (container, stream):
        tick_s = float(stream.time_base or 0)
        key_s = float(index.ticks[key]) * tick_s - video.origin_s
        ending = COPIED_AS.get(container.format.name)
        if ending is None or start_s - key_s > KEYFRAME_WITHIN_S:
            return None
        packets, found, places = [], [], set(wanted)
        following, _ = land(container, stream, index, key)
        for packet in following:
            place = -1 if packet.pts is None else index.place.get(packet.pts, -1)
            if place in places:
                packets.append(packet)
                found.append(place)
            if place >= wanted[-1]:
                break
        if found != wanted:
            return None
        shift(packets, int(index.ticks[key]))

        def pictures(clip: OutputContainer) -> Iterator[Packet]:
            own = clip.add_stream_from_template(stream)
            for packet in packets:
                packet.stream = own
                yield packet

        last_s = float(index.ticks[wanted].max()) * tick_s - video.origin_s
        after = video.frame_range(last_s, last_s).stop
        until_s = float(index.times_s[after]) if after < len(index.times_s) else video.duration_s
        file = stem.with_name(stem.name + ending)
        try:
            notes = write(file, pictures, video, key_s, end_s)
        except (av.error.InvalidDataError, av.error.ArgumentError):  # not every codec fits every container
            return None
    return Clip(file, key_s, until_s, True, notes)


def encode(video: Video, start_s: float, end_s: float, stem: Path) -> Clip:
    """A clip of the frames on screen in the part, encoded anew."""

    def pictures(clip: OutputContainer) -> Iterator[Packet]:
        rate = Fraction(video.source_fps).limit_denominator(1001)
        stream = clip.add_stream("libx264", rate=rate, options=ENCODER)
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", TICK_S
        stream.codec_context.color_range, stream.codec_context.colorspace = 1, 1  # limited range, BT.709
        for time_s, pixels in video.frames_between(start_s, end_s):
            height, width = (side // 2 * 2 for side in pixels.shape[:2])  # 4:2:0 has no odd sizes
            if not stream.codec_context.is_open:
                stream.height, stream.width = height, width
            picture = np.ascontiguousarray(pixels[:height, :width].numpy())  # (H, W, 3)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            frame.pts, frame.time_base = round(max(time_s - start_s, 0.0) / TICK_S), TICK_S
            yield from stream.encode(frame)
        if not stream.codec_context.is_open:
            raise VideoError(
                f"{video.name}: no frame from {start_s:g} s to {end_s:g} s decodes, the file is damaged there: choose "
                "another part or get it again"
            )
        *packets, last = stream.encode(None)
        yield from packets
        last.duration = max(round((end_s - start_s) / TICK_S) - (last.pts or 0), 1)
        yield last

    file = stem.with_name(stem.name + ".mp4")
    return Clip(file, start_s, end_s, False, write(file, pictures, video, start_s, end_s))


def write(
    file: Path, pictures: Callable[[OutputContainer], Iterator[Packet]], video: Video, start_s: float, end_s: float
) -> tuple[str, ...]:
    """Write a clip, its sound too where its container can hold it; what was left out.

    pictures: adds its stream to the clip and gives its packets, in the order they are decoded.
    """
    part = file.with_name(file.name + ".part")
    notes = []
    try:
        with ExitStack() as stack:
            clip = stack.enter_context(av.open(str(part), "w", format=FORMATS[file.suffix]))
            streams: list[Iterable[Packet]] = [pictures(clip)]
            if isinstance(video, VideoFile):
                container, _ = stack.enter_context(opened(video.source, video.name))
                sound = container.streams.best("audio")
                if isinstance(sound, AudioStream) and codec(sound) in clip.supported_codecs:
                    streams.append(sound_packets(clip, container, sound, video, start_s, end_s))
                elif isinstance(sound, AudioStream):
                    notes.append(f"the sound is left out: {file.suffix} can't hold {codec(sound)}")
            for packet in heapq.merge(*streams, key=decoded_at):
                clip.mux(packet)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return tuple(notes)


def codec(sound: AudioStream) -> str:
    """The name of a sound track's codec."""
    return sound.codec_context.name if sound.codec_context is not None else "an unknown codec"


def sound_packets(
    clip: OutputContainer, container: InputContainer, sound: AudioStream, video: VideoFile, start_s: float, end_s: float
) -> list[Packet]:
    """The packets of a sound track that begin in a part of the video, as a stream of the clip."""
    own = clip.add_stream_from_template(sound)
    tick_s = sound.time_base or Fraction(1, 1000)
    first, end = (round((video.origin_s + time_s) / tick_s) for time_s in (start_s, end_s))
    if video.packets.seekable:
        container.seek(max(first - round(1 / tick_s), 0), stream=sound)
    packets = []
    for packet in demux(container, sound):
        if packet.pts is not None and packet.pts >= end:
            break
        if packet.pts is not None and packet.pts >= first:
            packet.stream = own
            packets.append(packet)
    shift(packets, first)
    return packets


def shift(packets: list[Packet], first_tick: int) -> None:
    """Let packets begin at 0."""
    for packet in packets:
        packet.pts = None if packet.pts is None else packet.pts - first_tick
        packet.dts = None if packet.dts is None else packet.dts - first_tick


def decoded_at(packet: Packet) -> float:
    """When a packet is decoded, in seconds of its clip."""
    ticks = packet.pts if packet.dts is None else packet.dts
    return float((ticks or 0) * packet.time_base)
