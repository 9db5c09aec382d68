"""Clips: what is cut out of a video, decoded again, shows the frames that were asked for, with their sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from videos import frame_numbers, numbered_picture, write_video

from videox2l.errors import StoreError
from videox2l.video import FrameArray, open_video
from videox2l.video.clips import Clip, cut_clip

FPS = 10


def shown(clip: Clip) -> tuple[list[int], list[float]]:
    """The numbers of a clip's frames and their times in the clip, as any player would decode it."""
    with av.open(str(clip.file)) as container:
        pictures = [(frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(video=0)]
    pixels = torch.from_numpy(np.stack([picture for picture, _ in pictures])).permute(0, 3, 1, 2)
    return frame_numbers(pixels), [round(time_s, 3) for _, time_s in pictures]


def sound_s(clip: Clip) -> np.ndarray:
    """When the sound of a clip is loud, in seconds of the clip."""
    with av.open(str(clip.file)) as container:
        frames = [(frame.time, frame.to_ndarray(), frame.sample_rate) for frame in container.decode(audio=0)]
    times_s = np.concatenate([start + np.arange(samples.shape[-1]) / rate for start, samples, rate in frames])
    loud = np.concatenate([np.abs(samples[0].astype(np.float64)) for _, samples, _ in frames])
    return times_s[loud > loud.max() / 2]


def write_with_sound(path: Path, codec: str, beep_s: tuple[float, float], seconds: int = 10) -> Path:
    """Numbered frames with a keyframe a second, and a tone from beep_s[0] to beep_s[1]."""
    rate, samples_a_frame = 48_000, 1024
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=FPS)
        pictures.height, pictures.width = numbered_picture(0).shape[:2]
        pictures.pix_fmt, pictures.options = "yuv420p", {"g": str(FPS), "bf": "0", "crf": "18", "sc_threshold": "0"}
        sound = container.add_stream(codec, rate=rate, layout="mono")
        for number in range(seconds * FPS):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")))
        for start in range(0, seconds * rate, samples_a_frame):
            times_s = (start + np.arange(samples_a_frame)) / rate
            tone = np.sin(2 * np.pi * 440 * times_s) * ((times_s >= beep_s[0]) & (times_s < beep_s[1])) * 20_000
            frame = av.AudioFrame.from_ndarray(tone[None].astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(sound.encode(frame))
        container.mux(pictures.encode(None))
        container.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_packets_are_copied_from_a_keyframe_at_or_close_before(tmp_path: Path, suffix: str, b_frames: int) -> None:
    video = open_video(write_video(tmp_path / f"video.{suffix}", 100, fps=FPS, gop=20, b_frames=b_frames))
    clip = cut_clip(video, 4.3, 5.5, tmp_path / "clip")
    assert clip.is_copied
    assert clip.file.suffix == (".mkv" if suffix == "mkv" else ".mp4")
    numbers, times_s = shown(clip)
    assert numbers[0] == 40  # the keyframe, 0.3 s before
    assert numbers == list(range(40, 40 + len(numbers)))
    assert 55 <= 40 + len(numbers) <= 55 + b_frames
    assert times_s == pytest.approx([number / FPS - 4 for number in numbers], abs=2e-3)
    assert clip.start_s == pytest.approx(4.0, abs=1e-3)
    assert clip.end_s == pytest.approx((numbers[-1] + 1) / FPS, abs=2e-3)
    assert clip.notes == ()


@pytest.mark.parametrize("b_frames", [0, 2])
def test_without_a_keyframe_close_before_a_clip_is_encoded_exactly(tmp_path: Path, b_frames: int) -> None:
    video = open_video(write_video(tmp_path / "video.mp4", 100, fps=FPS, gop=50, b_frames=b_frames))
    clip = cut_clip(video, 6.7, 8.1, tmp_path / "clip")
    assert not clip.is_copied
    assert (clip.start_s, clip.end_s) == (6.7, 8.1)
    numbers, times_s = shown(clip)
    assert numbers == list(range(67, 81))
    assert times_s == pytest.approx([number / 10 for number in range(14)], abs=1e-3)
    with av.open(str(clip.file)) as container:
        assert container.duration / av.time_base == pytest.approx(1.4, abs=0.02)


def test_a_clip_begins_with_the_frame_on_screen_and_ends_with_the_video(tmp_path: Path) -> None:
    pictures = (numbered_picture(number) for number in range(5))
    times = [0, 1000, 1500, 4000, 4200]
    video = open_video(write_video(tmp_path / "video.mp4", pictures, gop=50, times=times))
    clip = cut_clip(video, 3.0, 99.0, tmp_path / "clip")
    numbers, times_s = shown(clip)
    assert numbers == [2, 3, 4]
    assert times_s == pytest.approx([0, 1.0, 1.2], abs=1e-3)
    assert clip.end_s == video.duration_s


def test_other_containers_and_sources_are_encoded(tmp_path: Path) -> None:
    avi = write_video(tmp_path / "video.avi", 40, fps=FPS, gop=1, codec="mpeg4")
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(numbered_picture(number, 97, 49)).save(folder / f"{number}.png")  # odd sides
    array = FrameArray(np.stack([numbered_picture(number) for number in range(5)]), [0.0, 1, 2, 3, 4])
    for name, source, start_s, numbers in (("avi", avi, 2.0, range(20, 30)), ("array", array, 2.0, [2])):
        clip = cut_clip(open_video(source), start_s, start_s + 1, tmp_path / name)
        assert not clip.is_copied
        assert shown(clip)[0] == list(numbers)
    clip = cut_clip(open_video(folder), 2.0, 4.0, tmp_path / "folder")
    with av.open(str(clip.file)) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(96, 48)] * 2


@pytest.mark.parametrize(
    "codec, start_s, is_copied", [("aac", 4.0, True), ("aac", 4.8, False), ("libmp3lame", 4.0, True)]
)
def test_sound_stays_in_step_with_the_pictures(tmp_path: Path, codec: str, start_s: float, is_copied: bool) -> None:
    video = open_video(write_with_sound(tmp_path / "video.mp4", codec, beep_s=(5.0, 5.5)))
    clip = cut_clip(video, start_s, 7.0, tmp_path / "clip")
    assert clip.is_copied == is_copied
    assert clip.notes == ()
    loud_s = sound_s(clip)
    assert loud_s.min() == pytest.approx(5.0 - start_s, abs=0.06)
    assert loud_s.max() == pytest.approx(5.5 - start_s, abs=0.06)
    assert shown(clip)[0][0] == start_s * FPS


def test_sound_that_does_not_fit_is_left_out_and_said(tmp_path: Path) -> None:
    video = open_video(write_with_sound(tmp_path / "video.avi", "adpcm_ms", (1, 2), seconds=4))
    clip = cut_clip(video, 1.0, 2.0, tmp_path / "clip")
    assert clip.notes == ("the sound is left out: .mp4 can't hold adpcm_ms",)
    with av.open(str(clip.file)) as container:
        assert not container.streams.audio


def test_a_clip_that_cant_be_written_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "video.mp4", 20, fps=FPS))
    with pytest.raises(StoreError, match="can't write"):
        cut_clip(video, 0, 1, tmp_path / "absent" / "clip")
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(StoreError, match="can't write"):
        cut_clip(video, 0, 1, tmp_path / "clip")
    assert not list(tmp_path.glob("*.part"))
