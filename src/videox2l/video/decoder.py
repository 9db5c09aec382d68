"""Decoding the frames that are wanted, and as few others as the codec allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videox2l.video.packets import PacketIndex, Run, demux, land


class Decoder:
    """Decodes ascending runs of packets of an open container, seeking to the start of each."""

    def __init__(self, container: InputContainer, stream: VideoStream, index: PacketIndex) -> None:
        self._container, self._stream, self._index = container, stream, index
        self._packets = demux(container, stream)
        self._failed = False  # whether a packet of the run did not decode
        self._drained = False
        self._next = 0  # decode-order place of the packet that comes next
        self._place = {tick: place for place, tick in enumerate(index.ticks.tolist())}
        self._frame = {tick: frame for frame, tick in enumerate(index.ticks[index.shown].tolist())}

    def decode(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (frame index, picture) for the sampled frames of a run, as far as they decode, in order."""
        pictures = self._wanted(run)
        head = next(pictures, None)
        earlier = self._index.key_before(run.first)
        if earlier is not None and (head is None or head[0] != run.frames[0]):
            # a keyframe may be one of gradual refresh, whose pictures are whole only after a while
            pictures = self._wanted(replace(run, first=earlier))
            head = next(pictures, None)
        if head is not None:
            yield head
        yield from pictures

    def _wanted(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        wanted = set(run.frames)
        self._failed = False
        last, damaged = -1, False
        for count, picture in enumerate(self._pictures(run)):
            frame = self._frame.get(picture.pts if self._index.timed else count)
            if frame is None:
                continue
            # what follows lost frames is predicted from something else, up to the next keyframe
            damaged = not picture.key_frame and (damaged or (self._failed and frame > last + 1))
            last = frame
            if frame in wanted and not damaged and not picture.is_corrupt:
                yield frame, picture

    def _pictures(self, run: Run) -> Iterator[VideoFrame]:
        for packet in self._packets_of(run):
            yield from self._decoded(packet)
        self._drained = True
        yield from self._decoded(None)  # what the decoder holds back; reading on would decode unwanted frames

    def _decoded(self, packet: Packet | None) -> list[VideoFrame]:
        try:
            return self._stream.decode(packet)
        except av.FFmpegError:
            self._failed = True
            return []

    def _packets_of(self, run: Run) -> Iterator[Packet]:
        if run.first != self._next or self._drained:
            self._seek(run.first)
        for packet in self._packets:
            place = self._place.get(packet.pts, self._next) if self._index.timed else self._next
            self._next = place + 1
            if place >= run.first:
                yield packet
            if place >= run.last:
                return

    def _seek(self, key: int) -> None:
        """Stand at that keyframe's packet or before it, even where the container's seek overshoots."""
        earlier: int | None = key
        while earlier is not None:
            packets, place = land(self._container, self._stream, self._index, earlier)
            if place <= key:
                break
            earlier = self._index.key_before(earlier)
        self._packets, self._next, self._drained = packets, place, False
