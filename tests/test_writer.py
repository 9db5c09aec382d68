"""Needle videos on disk: real mp4 files, the same bytes every time, laid over footage where there is some."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from videos import write_video as write_clip

from videox2l.errors import SettingsError, StoreError, VideoError
from videox2l.synthesis.dataset import QUESTIONS, SynthesisProgress, synthesise
from videox2l.synthesis.footage import Footage
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings
from videox2l.synthesis.world import render, sample_script
from videox2l.synthesis.writer import VideoFormat, write_video
from videox2l.video import Sampling, open_video

SHORT = NeedleSettings(minutes=0.1, seed=5, format=VideoFormat(fps=1, width=64, height=64))


def files(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(directory.iterdir())}


class Interrupted(Exception):
    """What a test raises out of a progress callback."""


@pytest.mark.parametrize(("fps", "width", "height"), [(1, 64, 64), (12.5, 130, 98), (29.97, 96, 160)])
def test_a_script_becomes_a_video_of_that_rate_size_and_content(tmp_path: Path, fps: float, width: int, height: int):
    script = sample_script(random.Random(1), 6)
    write_video(tmp_path / "v.mp4", script, VideoFormat(fps, width, height))
    video = open_video(tmp_path / "v.mp4", Sampling(fps=2 if fps > 1 else 1))
    assert video.source_fps == pytest.approx(fps, rel=1e-3)
    assert video.duration_s == pytest.approx(6, abs=0.5 / fps)
    for chunk in video.chunks(4):
        for pixels, time_s in zip(chunk.pixels, chunk.timestamps_s.tolist(), strict=True):
            truth = render(script, time_s, height, width).astype(float)
            assert np.abs(pixels.permute(1, 2, 0).numpy() - truth).mean() < 12  # what H.264 takes away


def test_the_same_settings_give_the_same_bytes(tmp_path: Path):
    settings = NeedleSettings(minutes=0.5, format=VideoFormat(fps=2, width=160, height=160))
    plan = NeedlePlan(settings)
    contents = set()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        plan.video(0).write(tmp_path / name, settings.format)
        contents.add((tmp_path / name).read_bytes())
    assert len(contents) == 1


def test_an_interrupted_run_keeps_finished_videos_and_ends_with_the_same_bytes(tmp_path: Path):
    synthesise(tmp_path / "whole", 3, SHORT)

    def interrupt(at: SynthesisProgress) -> None:
        if (at.videos, at.frames) == (1, 4):
            raise Interrupted

    with pytest.raises(Interrupted):
        synthesise(tmp_path / "parts", 3, SHORT, interrupt)
    left = files(tmp_path / "parts")
    assert "needles-00000.mp4" in left and "needles-00001.mp4" not in left
    questions = [json.loads(line) for line in left[QUESTIONS].splitlines()]
    assert {question["video"] for question in questions} == {"needles-00000.mp4"}

    report = synthesise(tmp_path / "parts", 3, SHORT)
    assert (report.kept, report.made) == (1, 2)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_directory_is_not_continued_with_other_settings(tmp_path: Path):
    synthesise(tmp_path, 1, SHORT)
    with pytest.raises(SettingsError, match="seed=5, and 6 was asked for"):
        synthesise(tmp_path, 1, NeedleSettings(minutes=0.1, seed=6, format=SHORT.format))
    assert synthesise(tmp_path, 2, SHORT).kept == 1  # more videos of the same settings


def test_questions_have_vnbench_fields_and_four_tries_with_the_answer_at_every_letter(tmp_path: Path):
    settings = NeedleSettings(minutes=0.5, seed=2, format=SHORT.format, questions=2)
    report = synthesise(tmp_path, 1, settings)
    entries = [json.loads(line) for line in (tmp_path / QUESTIONS).read_text().splitlines()]
    fields = ["video", "question", "options", "needle_time", "gt", "gt_option", "length", "type", "try"]
    for entry in entries:
        assert list(entry) == fields
        assert (tmp_path / entry["video"]).is_file()
        assert entry["options"]["ABCD".index(entry["gt_option"])] == entry["gt"]
        assert all(0 <= time_s < entry["length"] for time_s in entry["needle_time"])
    assert len(entries) == 4 * report.questions and report.questions == 20
    for first in range(0, len(entries), 4):
        four = entries[first : first + 4]
        assert [entry["try"] for entry in four] == [0, 1, 2, 3]
        assert len({entry["question"] for entry in four}) == 1
        letters = sorted(entry["gt_option"] for entry in four)
        assert letters == list("ABCD" if len(four[0]["options"]) == 4 else "AABB")


def test_needles_are_seen_where_and_when_the_questions_say(tmp_path: Path):
    settings = NeedleSettings(minutes=0.5, seed=8, format=VideoFormat(fps=2, width=96, height=96), questions=4)
    needles = NeedlePlan(settings).video(0)
    needles.write(tmp_path / "v.mp4", settings.format)
    by_time = {
        time_s: pixels
        for chunk in open_video(tmp_path / "v.mp4", Sampling(fps=2)).chunks(20)
        for pixels, time_s in zip(chunk.pixels, chunk.timestamps_s.tolist(), strict=True)
    }
    where = [question for question in needles.questions if question.task == "where"]
    assert len(where) == 4
    for question in where:
        event = next(
            e
            for e in needles.script.unique_events
            if e.start_s == question.needle_times_s[0] and e.corner == question.answer
        )
        top, left = 48 * event.corner.startswith("bottom"), 48 * event.corner.endswith("right")
        without = next(t for t in (event.start_s - 1, event.start_s + event.duration_s) if t in by_time)
        corner = [by_time[t][:, top : top + 48, left : left + 48].float() for t in (event.start_s, without)]
        assert (corner[0] - corner[1]).abs().mean() > 10


def test_needles_lie_over_footage_which_loops_where_it_is_short(tmp_path: Path):
    clip = write_clip(tmp_path / "clip.mp4", (np.full((48, 64, 3), 40 * i, np.uint8) for i in range(6)), fps=2)  # 3 s
    settings = NeedleSettings(minutes=0.2, format=VideoFormat(fps=4, width=64, height=64), haystacks=(clip,))
    report = synthesise(tmp_path / "out", 1, settings)
    assert report.notes[0] == "clip.mp4 is repeated: it lasts 3.0 s, and the videos 12.0 s"
    levels = [  # the frame's middle, which no needle covers
        float(pixels[:, 30:34, 31:33].float().mean())
        for chunk in open_video(tmp_path / "out" / "needles-00000.mp4", Sampling(fps=2)).chunks(50)
        for pixels in chunk.pixels
    ]
    steps = [round(level / 40) for level in levels]
    assert set(steps) == set(range(6))
    assert all(0 < (after - before) % 6 <= 2 for before, after in pairwise(steps))


def test_footage_with_fewer_frames_a_second_is_held(tmp_path: Path):
    clip = write_clip(tmp_path / "clip.mp4", (np.full((48, 64, 3), 60 * i, np.uint8) for i in range(4)), fps=1)
    frames = Footage.open(clip).frames(fps=3, start_s=1.0)
    shown = [round(float(next(frames).mean()) / 60) for _ in range(15)]
    assert shown == [1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NeedleSettings(minutes=0), "minutes=0 is not a length"),
        (lambda: NeedleSettings(minutes=-2), "minutes=-2 is not a length"),
        (lambda: NeedleSettings(minutes=float("nan")), "minutes=nan"),
        (lambda: NeedleSettings(minutes=0.05), "too short for needles"),
        (lambda: NeedleSettings(needles=(2, 11)), "can't fit"),
        (lambda: NeedleSettings(needles=(5, 2)), "can't fit"),
        (lambda: NeedleSettings(questions=0), "questions=0"),
        (lambda: NeedleSettings(tasks=("smell",)), "task 'smell' is unknown"),
        (lambda: VideoFormat(fps=0.5), "fps=0.5"),
        (lambda: VideoFormat(width=32), "width=32"),
        (lambda: VideoFormat(height=99), "height=99"),
        (lambda: synthesise("nowhere", 0), "videos=0"),
    ],
)
def test_what_cannot_be_made_is_named_before_rendering(make, message: str):
    with pytest.raises(SettingsError, match=message):
        make()


def test_a_haystack_or_a_place_that_does_not_work_is_named_before_rendering(tmp_path: Path):
    with pytest.raises(VideoError, match="absent"):
        synthesise(tmp_path / "out", 1, NeedleSettings(haystacks=(tmp_path / "absent.mp4",)))
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't write"):
        synthesise(tmp_path / "file", 1, SHORT)
