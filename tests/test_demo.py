"""The demonstration: one needle video, one question of each task, and the files it leaves."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from videox2l import OneLevel, TopK, VideoX2L
from videox2l.cli.needles import called_as
from videox2l.errors import StoreError
from videox2l.evaluation.demo import NOT_LEARNED, REPORT, TIMELINE, VIDEO, Demo, DemoSettings, demo_table, run_demo
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings
from videox2l.synthesis.questions import TASKS, Question
from videox2l.synthesis.writer import VideoFormat
from videox2l.types import Moment
from videox2l.video import open_video

SHORT = DemoSettings(seed=1, duration_s=12, format=VideoFormat(fps=2, width=96, height=64))


@pytest.fixture(scope="module")
def demo(video_xl: VideoXL, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    engine = VideoX2L(video_xl, chunk_frames=2, selector=TopK(1))
    return run_demo(engine, tmp_path_factory.mktemp("demo") / "out", SHORT)


def test_one_question_of_each_learned_task_with_its_truth_and_evidence(demo: Demo):
    assert tuple(answer.task for answer in demo.answers) == tuple(task for task in TASKS if task not in NOT_LEARNED)
    for answer in demo.answers:
        assert answer.truth and answer.question
        assert len(answer.moments) in (1, 2)  # k, and an edge if it scores best
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


def shown(demo: Demo, width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(demo_table(demo))
    return console.export_text()


def test_the_table_marks_right_and_wrong_and_shows_where_answers_come_from(demo: Demo):
    right = replace(demo.answers[0], question="Who?", answer="Ada", truth="ada", is_right=True, needle_times_s=(61.0,))
    found = replace(right, moments=(Moment(60, 70, 62.5, 0.3, 0.9),))
    wrong = replace(right, question="Where?", answer="here", truth="there", is_right=False, moments=())
    two = replace(demo, answers=(found, wrong))
    lines = [line.split() for line in shown(two).splitlines()]
    assert lines[1] == ["\N{CHECK MARK}", "Who?", "Ada", "1:01", "1:02"]
    assert lines[2] == ["\N{BALLOT X}", "Where?", "here,", "but", "it", "is", "there", "1:01", "-"]
    assert two.score.startswith("1 of 2 right")


def test_a_demo_without_scores_shows_no_moments(video_xl: VideoXL, tmp_path: Path):
    demo = run_demo(VideoX2L(video_xl, chunk_frames=2, selector=OneLevel()), tmp_path, SHORT)
    assert all(answer.moments == () for answer in demo.answers)
    assert json.loads((tmp_path / REPORT).read_text())["answers"][0]["moments"] == []
    assert shown(demo)


def test_a_directory_that_cannot_be_written_is_named(video_xl: VideoXL, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't write to"):
        run_demo(VideoX2L(video_xl, chunk_frames=2), tmp_path / "file", SHORT)


def test_the_demo_of_nano_fits_a_terminal_and_its_closing_command_runs_as_printed(
    tmp_path: Path,
):
    """Called by a path with a space in it, in a directory of its own."""
    script = tmp_path / "my bin" / "videox2l"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom videox2l.cli import main\nmain()\n")
    script.chmod(0o755)
    environment = {"COLUMNS": "80", "PATH": "/usr/bin:/bin", "VIDEOX2L_CACHE": str(tmp_path / "cache")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "VIDEOX2L_MODEL": "no/such-model"}

    def run(command: str) -> str:
        ran = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        notices = [line for line in ran.stderr.splitlines() if "Warning" not in line and "torch" not in line]
        return "\n".join([*notices, ran.stdout])

    printed = run("'my bin/videox2l' demo")
    rows = [len(textwrap.wrap(line, 80)) or 1 for line in printed.splitlines()]
    assert sum(rows) <= 24
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    report = json.loads((tmp_path / "videox2l-demo" / REPORT).read_text())
    assert report["another_question"] not in [answer["question"] for answer in report["answers"]]
    assert sum(answer["is_right"] for answer in report["answers"]) >= 4
    assert printed.count("\N{CHECK MARK}") == sum(answer["is_right"] for answer in report["answers"])
    command = printed.splitlines()[-1]
    assert command.startswith("  'my bin/videox2l' ask videox2l-demo/needles.mp4 ")
    answer = json.loads(run(f"{command} --json"))
    assert answer["index_reused"]
    (truth,) = [q.answer for q in first_demo_questions() if q.text == report["another_question"]]
    assert answer["answer"] == truth


def first_demo_questions() -> tuple[Question, ...]:
    """What the demonstration can ask by default."""
    settings = DemoSettings()
    needles = NeedleSettings(
        settings.duration_s / 60, settings.seed, settings.format, questions=2, tasks=settings.tasks
    )
    return NeedlePlan(needles).video(0).questions


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/usr/local/bin/videox2l", "demo"], ["/usr/local/bin/videox2l"]),
        ([".venv/bin/videox2l", "demo"], [".venv/bin/videox2l"]),
        ([str(Path.cwd() / ".venv" / "bin" / "videox2l"), "demo"], [".venv/bin/videox2l"]),
        (["./videox2l", "demo"], ["./videox2l"]),
        ([str(Path.cwd() / "videox2l"), "demo"], ["./videox2l"]),
        (["/lib/videox2l/__main__.py", "demo"], [".venv/bin/python", "-m", "videox2l"]),
    ],
)
def test_a_command_is_printed_as_the_program_was_called(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], words: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", [".venv/bin/python", "-m", "videox2l", "demo"])
    assert called_as() == words
