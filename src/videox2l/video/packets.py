"""What demuxing a video stream once tells: when each frame is shown, and where decoding can start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

PROBED_PACKETS = 32
MOST_REORDERED = 16


@dataclass(frozen=True)
class Run:
    """Packets decoded in one go: from a keyframe to the last sampled frame that needs no seek in between.

    first, last: places in decode order. frames: indices of the sampled frames these packets show.
    """

    first: int
    last: int
    frames: list[int]


@dataclass(frozen=True)
class PacketIndex:
    """Every packet of a video stream, arrays in decode order, and the frames they show in presentation order.

    ticks, seek_ticks: when the packet is shown, and the time to seek to for it, in the stream's time base.
    key: whether decoding can start at the packet.
    shown: the packet of every frame, in presentation order.
    times_s: the time of every frame, from the first one.
    duration_s: from the first frame's start to the last frame's end.
    timed: whether packets have times that tell them apart; else decoded frames are counted from the start.
    seekable: whether the container finds its keyframes; else it is decoded from the start.
    """

    ticks: np.ndarray
    seek_ticks: np.ndarray
    key: np.ndarray
    shown: np.ndarray
    times_s: np.ndarray
    duration_s: float
    timed: bool
    seekable: bool = False

    @cached_property
    def place(self) -> dict[int, int]:
        """Place in decode order by tick."""
        return {tick: place for place, tick in enumerate(self.ticks.tolist())}

    def key_before(self, place: int) -> int | None:
        """The keyframe packet before that place, None if there is none or the container can't seek."""
        keys = np.flatnonzero(self.key[:place])
        return int(keys[-1]) if self.seekable and len(keys) else None

    def runs(self, frames: np.ndarray) -> list[Run]:
        """How to decode these frames (ascending): one seek for each group of frames behind a keyframe."""
        # the place of a frame without a time is not known, only that codecs reorder by less than so many
        packets = self.shown[frames] if self.timed else np.minimum(frames + MOST_REORDERED, len(self.ticks) - 1)
        starts = np.zeros_like(packets)
        if self.seekable:
            keys = np.flatnonzero(self.key)
            starts = keys[np.searchsorted(self.ticks[keys], self.ticks[packets], side="right") - 1]
        runs: list[Run] = []
        for frame, start, packet in zip(frames.tolist(), starts.tolist(), packets.tolist(), strict=True):
            if runs and start <= runs[-1].last + 1:
                runs[-1].frames.append(frame)
                runs[-1] = replace(runs[-1], last=max(runs[-1].last, packet))
            else:
                runs.append(Run(start, packet, [frame]))
        return runs


def demux(container: InputContainer, stream: VideoStream | AudioStream) -> Iterator[Packet]:
    """The stream's packets, past damaged spots where the container can go on."""
    failures = 0
    while failures < 100:
        try:
            for packet in container.demux(stream):
                failures = 0
                if packet.size:
                    yield packet
            return
        except av.FFmpegError:
            failures += 1


def land(container: InputContainer, stream: VideoStream, index: PacketIndex, key: int) -> tuple[Iterator[Packet], int]:
    """Seek to a keyframe's packet: the packets that come then, and the place of the first of them.

    The place is past the end if the container can't seek or comes out at a packet it did not show before.
    """
    nowhere = len(index.ticks)
    try:
        container.seek(int(index.seek_ticks[key]), stream=stream)
    except av.FFmpegError:
        return iter(()), nowhere
    packets = demux(container, stream)
    head = next(packets, None)
    if head is None or head.pts is None:
        return iter(()), nowhere
    return chain([head], packets), index.place.get(head.pts, nowhere)


def index_packets(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Demux the whole stream, decoding nothing, and sort out its times. No packet, no frame: an empty index."""
    packets = [
        (packet.pts, packet.dts, packet.duration, packet.is_keyframe, packet.is_discard, packet.is_corrupt)
        for packet in demux(container, stream)
    ]
    while packets and packets[-1][-1]:  # cut off in the middle
        packets.pop()
    if not packets:
        nothing = np.empty(0, dtype=np.int64)
        return PacketIndex(nothing, nothing, nothing, nothing, nothing, duration_s=0.0, timed=False)
    pts, dts, durations, key, discard, _ = zip(*packets, strict=True)
    is_key = np.array(key, dtype=bool)
    first_key = int(is_key.argmax())
    is_key[first_key] = True
    time_base = float(stream.time_base or 0)
    frame_s = 1 / float(stream.guessed_rate or stream.average_rate or 25)

    # AVI stores no presentation times: for reordered frames libav then makes some up, in decode order
    guessed = stream.codec_context.has_b_frames and _ascending(pts)
    if guessed or not _timed(pts, is_key):
        places = np.arange(len(packets))
        times_s = _seconds(dts, time_base) if _ascending(dts) else places * frame_s
        duration_s = float(times_s[-1]) + frame_s
        return PacketIndex(places, places, is_key, places, times_s, duration_s, timed=False)

    ticks = np.array(pts, dtype=np.int64)
    # what is shown before the first keyframe can't be decoded; what an edit list cuts off is discarded
    shown = np.flatnonzero((ticks >= ticks[first_key]) & ~np.array(discard, dtype=bool))
    shown = shown[np.argsort(ticks[shown])]
    times_s, duration_s = _seconds(ticks[shown], time_base), 0.0
    if len(shown):
        duration_s = float(times_s[-1]) + ((durations[shown[-1]] or 0) * time_base or frame_s)
    seek_ticks = np.array([p if d is None else d for p, d in zip(pts, dts, strict=True)], dtype=np.int64)
    index = PacketIndex(ticks, seek_ticks, is_key, shown, times_s, duration_s, timed=True)
    return replace(index, seekable=_seekable(container, stream, index))


def _seconds(ticks: Sequence[int] | np.ndarray, time_base: float) -> np.ndarray:
    """Times from the first one."""
    ticks = np.asarray(ticks, dtype=np.int64)
    return (ticks - ticks[:1]) * time_base


def _seekable(container: InputContainer, stream: VideoStream, index: PacketIndex) -> bool:
    """Whether seeks to a few keyframes come out there or before, and packets then are those seen before.

    An MPEG program stream, for one, stores few times, and guesses the others anew after a seek.
    """
    keys = np.flatnonzero(index.key)
    for key in np.unique(keys[np.linspace(0, len(keys) - 1, 5).astype(int)]).tolist():
        packets, place = land(container, stream, index, key)
        expected = range(place, min(place + PROBED_PACKETS, len(index.ticks)))
        found = [packet.pts for packet in islice(packets, len(expected))]
        if place > key or found != index.ticks[expected].tolist():
            return False
    return True


def _ascending(ticks: tuple[int | None, ...]) -> bool:
    return None not in ticks and bool((np.diff(np.array(ticks, dtype=np.int64)) > 0).all())


def _timed(ticks: tuple[int | None, ...], is_key: np.ndarray) -> bool:
    """Whether every packet has a time of its own, and keyframes follow each other in time."""
    if None in ticks or len(set(ticks)) < len(ticks):
        return False
    return bool((np.diff(np.array(ticks, dtype=np.int64)[is_key]) > 0).all())
