"""Several questions at once, and what becomes of the others when one thing fails."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import Run
from videos import write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 60, fps=10)


SMALL = ("--chunk-frames", 2, "--max-new-tokens", 4)


QUESTIONS = "What is shown?\n\n" + json.dumps({"question": "And \u2028 then?", "video": "other.mp4"}) + "\r\n"


def test_several_questions_load_once_and_are_answered_in_order(run: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "questions.txt").write_text(QUESTIONS, "utf-8")
    ask = ("ask", clip, *SMALL, "--json", "Who?", "Where?", "--questions")
    for file, text in ((tmp_path / "questions.txt", None), ("-", QUESTIONS)):
        code, out, _ = run(*ask, file, text=text)
        assert code == 0
        answers = [json.loads(line) for line in out.rstrip("\n").split("\n")]
        assert [answer["question"] for answer in answers] == ["Who?", "Where?", "What is shown?", "And \u2028 then?"]
    code, out, _ = run("ask", clip, *SMALL, "Who?", "Where?")
    assert code == 0
    assert out.index("Who?\n") < out.index("Where?\n")


def test_a_question_that_cant_be_asked_leaves_the_others_their_answers(run: Run, clip: Path) -> None:
    code, out, err = run("ask", clip, *SMALL, "--json", "Who?", "long " * 9000, "Where?")
    assert code == 2
    first, second, third = (json.loads(line) for line in out.splitlines())
    assert (first["question"], third["question"]) == ("Who?", "Where?")
    assert set(second) == {"question", "error"}
    assert err.count("error: ") == 1


def test_answers_are_the_same_whether_at_once_or_one_by_one(run: Run, clip: Path) -> None:
    def answers(*options: object) -> list[dict]:
        code, out, _ = run("ask", clip, *SMALL, "--json", "Who?", "Where is it?", "And then?", *options)
        assert code == 0
        return [json.loads(line) | {"timings_s": {}, "index_reused": True} for line in out.splitlines()]

    together = answers()
    assert together == answers("--at-once", 1) == answers("--at-once", 2)
    alone = [json.loads(run("ask", clip, *SMALL, "--json", answer["question"])[1]) for answer in together]
    assert [answer["answer"] for answer in alone] == [answer["answer"] for answer in together]
    code, out, err = run("ask", clip, "Who?", "--at-once", 0)
    assert (code, out) == (2, "")
    assert "--at-once 0 answers no question" in err


@pytest.mark.parametrize(
    "text, said",
    [
        ('{"question": 3}', 'line 1 of standard input is not a JSON object with a "question"'),
        ('Who?\n{"question": " "}', "the question in line 2 of standard input is empty"),
        ("{not JSON}", "line 1 of standard input"),
        (" \n\n", "standard input has no questions"),
    ],
)
def test_a_file_of_questions_that_holds_none_is_refused(run: Run, clip: Path, text: str, said: str) -> None:
    code, out, err = run("ask", clip, "--questions", "-", text=text)
    assert code == 2
    assert said in err
    assert not out


def test_an_answer_is_not_lost_with_its_picture(run: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "taken-2.png").mkdir()
    code, out, err = run("ask", clip, *SMALL, "--json", "Who?", "Where?", "When?", "--plot", tmp_path / "taken.png")
    assert code == 2
    assert len(out.splitlines()) == 3
    assert (tmp_path / "taken-1.png").is_file()
    assert (tmp_path / "taken-3.png").is_file()
    assert [line for line in err.splitlines() if line.startswith("error: can't write ")]
    assert "Traceback" not in err


def test_an_index_may_have_levels_that_some_selector_reads(run: Run, clip: Path) -> None:
    code, out, _ = run("index", clip, "--chunk-frames", 2, "--levels", "2,8,32", "--json")
    assert code == 0
    assert json.loads(out)["levels"] == [2, 8, 32]


def test_the_notice_about_the_bundled_model_comes_when_a_video_is_indexed_and_not_again(
    run: Run, made_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIDEOX2L_MODEL")
    heard = [run("ask", made_clip, question, "--max-new-tokens", 2)[2].count("nano, a small") for question in "abc"]
    assert heard == [1, 0, 0]
    assert "nano, a small" not in run("ask", made_clip, "What?", "--model", "nano", "--fps", 2)[2]


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [("| true", 1, 0), (">/dev/full", 2, 1), (">&-", 0, 0), (">&- <&-", 0, 0)],
)
def test_an_output_that_takes_nothing_is_no_traceback(
    clip: Path, checkpoint: Path, tmp_path: Path, redirection: str, code: int, said: int
) -> None:
    command = [sys.executable, "-m", "videox2l", "ask", str(clip), *"abc", *map(str, SMALL), "--json"]
    environment = os.environ | {"VIDEOX2L_CACHE": str(tmp_path), "VIDEOX2L_MODEL": str(checkpoint)}
    shell = ["bash", "-o", "pipefail", "-c", f"{shlex.join(command)} {redirection}"]
    ran = subprocess.run(shell, stderr=subprocess.PIPE, text=True, env=environment)
    assert ran.returncode == code
    assert ran.stderr.count("error: can't write the output (No space left on device)") == said
    for odd in ("Traceback", "Exception", "BrokenPipe"):
        assert odd not in ran.stderr
