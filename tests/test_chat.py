"""Chat as a person and as a script meet it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from command import Run
from terminal import BACKSPACE, CTRL_C, CTRL_D, ENTER, LEFT, TAB, UP, Terminal
from videos import write_video

from videox2l import VideoX2L

SMALL = ("--chunk-frames", 2, "--max-new-tokens", 4)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 60, fps=10)


def has_answers(file: Path, number: int) -> bool:
    return len(answers(file.read_text())) >= number


def answers(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_piped_questions_are_answered_one_by_one_past_blank_lines(run: Run, clip: Path) -> None:
    code, out, err = run("chat", clip, *SMALL, "--json", text="What is shown?\n\n   \nAnd  then?\n/quit\nNever asked\n")
    assert code == 0
    assert [answer["question"] for answer in answers(out)] == ["What is shown?", "And then?"]
    assert ">" not in out
    assert "Ctrl" not in err


def test_a_line_that_fails_does_not_end_the_conversation_but_shows_in_the_exit_code(run: Run, clip: Path) -> None:
    lines = "/teleport\n/k many\n/oracle psychic\n/moments\n/find a cat\n/plot\n/plot x.xyz\nWhat?\n/plot x.xyz\nWho?"
    code, out, err = run("chat", clip, *SMALL, "--json", text=lines)
    assert code == 2
    assert [line["question"] for line in answers(out) if "question" in line] == ["What?", "Who?"]
    assert [line["text"] for line in answers(out) if "error" in line][:2] == ["/teleport", "/k many"]
    for said in (
        "/teleport is not a command: /help lists them",
        "/k 'many' is not a number of chunks",
        "oracle 'psychic' is unknown",
        "there is no answer yet",
        "/find needs an encoder",
        "/plot needs the name of a file",
        "can't save a picture as x.xyz",
    ):
        assert f"error: {said}" in err


def test_commands_change_how_the_next_questions_are_answered(run: Run, clip: Path, tmp_path: Path) -> None:
    picture = tmp_path / "timeline.png"
    lines = f"What?\n/k 1\n/oracle random\nWhat?\n/plot {picture}\n/help\n/moments\n"
    code, out, err = run("chat", clip, *SMALL, "--json", text=lines)
    assert code == 0
    first, second, third = answers(out)
    assert third == {"kind": "moments", "text": "What?", "moments": second["moments"]}
    assert (first["selector"]["k"], second["selector"]["k"]) == (3, 1)
    assert (first["oracle"], second["oracle"]) == ("cascade", "random")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "/oracle NAME" in err


def test_k_is_refused_by_a_selector_that_has_none(run: Run, clip: Path) -> None:
    code, _, err = run("chat", clip, *SMALL, "--moments", "1", text="/k 2\n")
    assert code == 2
    assert "/k means nothing to the selector manual" in err


@pytest.fixture
def environment(checkpoint: Path, tmp_path: Path) -> dict[str, str]:
    return {"VIDEOX2L_CACHE": str(tmp_path / "cache"), "VIDEOX2L_MODEL": str(checkpoint), "HF_HUB_OFFLINE": "1"}


def test_a_person_edits_recalls_and_leaves(clip: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """Answers go to a file, so that what was asked can be read back; the prompt stays in the terminal."""
    kept = tmp_path / "answers"
    with kept.open("w") as file, Terminal(["chat", clip, *SMALL, "--json"], environment, file.fileno()) as terminal:
        terminal.wait_for("clip.mp4, 0:06 long, answered by")
        terminal.wait_for("Ctrl-D leaves")
        assert "note: " not in terminal.screen
        for number, keys in enumerate(
            ("What is on the left?" + LEFT + BACKSPACE * 4 + "right", UP + BACKSPACE + " now?"), 1
        ):
            terminal.wait_for_prompt()
            terminal.send(keys + ENTER)
            terminal.wait_until(partial(has_answers, kept, number))
        terminal.wait_for_prompt()
        terminal.send(ENTER + "   " + ENTER + "never asked")
        terminal.wait_for("never asked")
        terminal.send(CTRL_C)  # drops the line
        terminal.wait_for_prompt()
        terminal.send("/he" + TAB)
        terminal.wait_for("/help")
        terminal.send(ENTER)
        terminal.wait_for("Ctrl-C stops an answer")
        terminal.wait_for_prompt()
        terminal.send(CTRL_D)
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.screen
    asked = [answer["question"] for answer in answers(kept.read_text())]
    assert asked == ["What is on the right?", "What is on the right now?"]


def test_ctrl_c_stops_the_answer_and_not_the_conversation(clip: Path, environment: dict[str, str]) -> None:
    with Terminal(["chat", clip, "--chunk-frames", 2, "--max-new-tokens", 30_000], environment) as terminal:
        terminal.wait_for("Ctrl-D leaves")
        terminal.wait_for_prompt()
        terminal.send("Tell me everything." + ENTER)
        terminal.wait_for("everything.")
        terminal.wait_for("\n")
        terminal.wait_for_more(20)  # the answer comes piece by piece
        terminal.send(CTRL_C)
        terminal.wait_for("stopped; this turn is forgotten")
        terminal.wait_for_prompt()
        terminal.send("/moments" + ENTER)
        terminal.wait_for("there is no answer yet")
        terminal.wait_for_prompt()
        terminal.send("/quit" + ENTER)
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.screen


def test_ctrl_c_ends_ask_without_a_traceback(clip: Path, environment: dict[str, str]) -> None:
    with Terminal(["ask", clip, "What?", "--chunk-frames", 2, "--max-new-tokens", 30_000], environment) as terminal:
        terminal.wait_for_more(50)
        terminal.send(CTRL_C)
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.screen


def test_a_model_that_knows_no_conversations_says_so_before_the_first_question(
    made_clip: Path, environment: dict[str, str]
) -> None:
    with Terminal(["chat", made_clip, "--model", "nano"], environment) as terminal:
        terminal.wait_for("nano was not trained on conversations")
        terminal.wait_for_prompt()
        terminal.send(CTRL_D)
        assert terminal.wait() == 0


def test_a_conversation_shows_itself_in_a_line(engine: VideoX2L, made_clip: Path) -> None:
    chat = engine.chat(made_clip)
    assert repr(chat) == f"Chat('made.mp4', {engine.model.name}, 0 turns)"
    assert chat.notes == ()
