"""The demonstration: one needle video, one question of each task, and the files it leaves."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from videox2l import OneLevel, TopK, VideoX2L
from videox2l.errors import StoreError
from videox2l.evaluation.demo import REPORT, TIMELINE, VIDEO, Demo, DemoSettings, demo_table, run_demo
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.synthesis.questions import TASKS
from videox2l.synthesis.writer import VideoFormat
from videox2l.video import open_video

SHORT = DemoSettings(seed=1, duration_s=12, format=VideoFormat(fps=2, width=96, height=64))


@pytest.fixture(scope="module")
def demo(video_xl: VideoXL, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    engine = VideoX2L(video_xl, chunk_frames=2, selector=TopK(1))
    return run_demo(engine, tmp_path_factory.mktemp("demo") / "out", SHORT)


def test_one_question_of_each_task_with_its_truth_and_evidence(demo: Demo):
    assert tuple(answer.task for answer in demo.answers) == TASKS
    for answer in demo.answers:
        assert answer.truth and answer.question
        assert len(answer.moments_s) == 1  # k
        assert 0 < answer.cache_tokens < demo.full_cache_tokens


def test_video_timeline_and_report_are_left_behind(demo: Demo):
    assert open_video(demo.directory / VIDEO).duration_s == pytest.approx(12)
    with Image.open(demo.directory / TIMELINE) as picture:
        assert picture.width > 800
    assert json.loads((demo.directory / REPORT).read_text()) == json.loads(json.dumps(demo.to_json()))


def test_the_demo_repeats(demo: Demo, video_xl: VideoXL, tmp_path: Path):
    again = run_demo(VideoX2L(video_xl, chunk_frames=2, selector=TopK(1)), tmp_path, SHORT)
    assert (tmp_path / VIDEO).read_bytes() == (demo.directory / VIDEO).read_bytes()
    assert [answer.answer for answer in again.answers] == [answer.answer for answer in demo.answers]


def test_the_table_shows_answer_truth_and_where_both_come_from(demo: Demo):
    console = Console(width=180, record=True, file=io.StringIO())
    console.print(demo_table(demo))
    text = console.export_text()
    for answer in demo.answers:
        assert answer.question in text and answer.truth in text
        assert f"{answer.cache_tokens} of {demo.full_cache_tokens}" in text


def test_a_demo_without_scores_shows_no_moments(video_xl: VideoXL, tmp_path: Path):
    demo = run_demo(VideoX2L(video_xl, chunk_frames=2, selector=OneLevel()), tmp_path, SHORT)
    assert all(answer.moments_s == () for answer in demo.answers)
    assert json.loads((tmp_path / REPORT).read_text())["answers"][0]["moments_s"] == []
    Console(width=180, file=io.StringIO()).print(demo_table(demo))


def test_a_directory_that_cannot_be_written_is_named(video_xl: VideoXL, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't write to"):
        run_demo(VideoX2L(video_xl, chunk_frames=2), tmp_path / "file", SHORT)


def test_the_demo_of_nano_answers_most_questions_on_single_needles(tmp_path: Path):
    demo = run_demo(VideoX2L.from_pretrained("nano"), tmp_path)
    right = [answer.is_right for answer in demo.answers if answer.task in ("attribute", "where", "when", "exist")]
    assert sum(right) >= 3
    assert all(answer.cache_tokens < demo.full_cache_tokens / 3 for answer in demo.answers)
