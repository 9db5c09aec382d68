"""`videox2l eval` as a user meets it: a question file or needle videos, what is printed, kept and refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from videox2l import VideoIndex, VideoX2L
from videox2l.answering.stream import AnswerStream
from videox2l.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, checkpoint: Path) -> Run:
    """Run a command in this process on the tiny model, in a store of its own: (exit code, stdout, stderr)."""
    monkeypatch.setenv("VIDEOX2L_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VIDEOX2L_MODEL", str(checkpoint))

    def invoke(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["videox2l", "eval", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        output = capsys.readouterr()
        return int(exit_info.value.code or 0), output.out, output.err

    return invoke


@pytest.fixture
def questions(made_clip: Path, tmp_path: Path) -> Path:
    """Two questions about one video."""
    (tmp_path / "clip.mp4").write_bytes(made_clip.read_bytes())
    rows = [
        {"video": "clip.mp4", "question": "What?", "answer": "noise", "task": "free"},
        {"video": "clip.mp4", "question": "Which?", "options": ["noise", "music"], "answer": 0},
    ]
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


SMALL = ("--chunk-frames", 2, "--max-new-tokens", 2)


def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that are asked from now on."""
    seen: list[str] = []
    real = VideoX2L.stream

    def stream(self: VideoX2L, index: VideoIndex, question: str, **settings: Any) -> AnswerStream:
        seen.append(question)
        return real(self, index, question, **settings)

    monkeypatch.setattr(VideoX2L, "stream", stream)
    return seen


def test_a_question_file_is_measured_beside_what_it_must_beat_and_goes_on(
    run: Run, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = asked(monkeypatch)
    code, out, _ = run(questions, *SMALL)
    results = questions.with_name("questions.results.jsonl")
    assert code == 0
    assert "questions.jsonl, 1 video: 2 questions in each setting" in out
    for setting in ("2x everywhere", "attention", "random", "evenly", "one level, equal", "full cache"):
        assert setting in out
    assert str(results) in out
    assert len(results.read_text().splitlines()) == len(seen)
    code, out, _ = run("file", *SMALL, questions, "--json")
    values = json.loads(out)
    assert code == 0
    assert len(seen) == 2 * len(values["settings"])  # nothing was asked again
    assert set(values["tasks"]) == set(values["mean_tasks"]) == {"free", "all"}


def test_these_settings_alone_and_another_file_for_the_answers(run: Run, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    code, printed, _ = run(*SMALL, "--only", "--no-options", "--out", out, questions, "--json")
    assert code == 0
    assert [setting["name"] for setting in json.loads(printed)["settings"]] == ["2x/32x, cascade, k=3"]
    assert [json.loads(line)["truth"] for line in out.read_text().splitlines()] == ["noise", "noise"]
    assert not questions.with_name("questions.results.jsonl").exists()


def test_an_interruption_says_what_is_kept(run: Run, questions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = asked(monkeypatch)
    counted = VideoX2L.stream

    def interrupt(self: VideoX2L, index: VideoIndex, question: str, **settings: Any) -> AnswerStream:
        if len(seen) == 3:
            raise KeyboardInterrupt
        return counted(self, index, question, **settings)

    monkeypatch.setattr(VideoX2L, "stream", interrupt)
    code, _, err = run(questions, *SMALL)
    results = questions.with_name("questions.results.jsonl")
    assert code == 130
    assert f"finished answers are kept in {results}, the same command continues from there" in err
    assert len(results.read_text().splitlines()) == 2  # the third was not finished


def test_a_bad_row_is_said_before_a_model_is_loaded(run: Run, questions: Path) -> None:
    with open(questions, "a") as file:
        file.write('{"video": "clip.mp4", "question": "Who?"}\n')
    code, out, err = run(questions, "--model", "no/such-model")
    assert code == 2
    assert err.strip() == f"error: {questions}, line 3: it has no 'answer': give it a text or a number"
    assert not out
    code, _, err = run(questions.with_name("absent.jsonl"))
    assert code == 2
    assert "absent.jsonl can't be read" in err


def test_needle_videos_are_measured_and_go_on_where_answers_are_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needles = ("needles", "--videos", 2, "--questions", 1, "--minutes", 0.1, "--size", "64x64", "--chunk-frames", 2)
    out = tmp_path / "answers.jsonl"
    seen = asked(monkeypatch)
    code, printed, _ = run(*needles, "--only", "--out", out, "--json")
    assert code == 0
    first, count = json.loads(printed), len(seen)
    assert first["videos"] == 2 and first["needles"]["questions"] == 1
    assert count == len(out.read_text().splitlines()) > 2
    code, printed, _ = run(*needles, "--only", "--out", out, "--json")
    again = json.loads(printed)
    assert len(seen) == count
    assert again["settings"][0]["tasks"] == first["settings"][0]["tasks"]
    run(*needles, "--only", "--out", out, "--seed", 1)
    assert len(seen) > count
