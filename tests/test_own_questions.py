"""A user's own questions: how their file is read, what counts as right, and an evaluation that goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from videox2l import Generation, Sampling, SummaryTokens, TopK, VideoIndex, VideoX2L
from videox2l.answering.stream import AnswerStream
from videox2l.errors import SettingsError, StoreError
from videox2l.evaluation.answers_file import AnswersFile
from videox2l.evaluation.evaluate import EvaluationProgress, evaluate
from videox2l.evaluation.question_set import OPTION_REQUEST, Item, QuestionSet, chosen_option
from videox2l.evaluation.questions_file import read_questions
from videox2l.evaluation.result import EvaluationResult
from videox2l.evaluation.settings import Setting
from videox2l.store import DiskStore

PETS = ("a dog", "a cat", "a black cat", "nothing")


def write(file: Path, *rows: object) -> Path:
    (file.parent / "clip.mp4").touch()
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def only_item(file: Path, **fields: object) -> Item:
    (video,) = read_questions(write(file, {"video": "clip.mp4", "question": "What is it?", **fields})).videos
    (item,) = video.items
    return item


def test_questions_are_gathered_by_video_and_counted_by_task(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "other.mp4").touch()
    rows = [
        json.dumps(
            {"video": "clip.mp4", "question": "Who?\u2028", "answer": "Ada", "task": "people", "id": 7},
            ensure_ascii=False,
        ),
        {"video": "clips/other.mp4", "question": "How many?", "answer": 3, "times": [1, 2.5]},
        "",
        {"video": "./clip.mp4", "question": "Where?", "options": ["here", "there"], "answer": "there"},
    ]
    questions = read_questions(write(tmp_path / "questions.jsonl", *rows))
    assert [video.name for video in questions.videos] == ["clip.mp4", "clips/other.mp4"]
    who, where = questions.videos[0].items
    (many,) = questions.videos[1].items
    assert (who.text.strip(), who.truth, who.task, who.options) == ("Who?", "Ada", "people", ())
    assert where.text == f"Where?\nA. here\nB. there\n{OPTION_REQUEST}"
    assert (where.truth, where.task) == ("B", "all")
    assert (many.truth, many.times_s) == ("3", (1, 2.5))
    assert set(questions.mean_tasks) == {"people", "all"}
    with questions.videos[1].at_hand() as path:
        assert path == tmp_path / "clips" / "other.mp4"


@pytest.mark.parametrize(
    ("options", "answer", "letter"),
    [
        (PETS, "a cat", "B"),
        (PETS, "A Cat.", "B"),
        (PETS, "c", "C"),
        (PETS, 3, "D"),
        (["A. a dog", "B. a cat"], "B", "B"),
        (["A. a dog", "B. a cat"], "B. a cat", "B"),
        (["(A) a dog", "(B) a cat"], "a cat", "B"),
        (["B", "A"], "A", "B"),
        (["1", "2", "3"], "2", "B"),
        (["C", "C++"], "C++", "B"),
    ],
)
def test_the_right_option_is_given_by_text_letter_or_place(
    tmp_path: Path, options: Sequence[str], answer: object, letter: str
) -> None:
    assert only_item(tmp_path / "q.jsonl", options=list(options), answer=answer).truth == letter


def test_letters_that_options_bring_are_not_written_twice(tmp_path: Path) -> None:
    assert (
        "\nA. a dog\nB. a cat\n" in only_item(tmp_path / "q.jsonl", options=["A. a dog", "B. a cat"], answer="A").text
    )


def test_repeated_lines_are_asked_once_and_said(tmp_path: Path) -> None:
    row = {"video": "clip.mp4", "question": "What is it?", "options": PETS, "answer": "nothing"}
    turned = row | {"options": PETS[::-1]}
    file = write(tmp_path / "q.jsonl", row, turned, row)
    shown, hidden = read_questions(file), read_questions(file, show_options=False)
    assert [len(asked.videos[0].items) for asked in (shown, hidden)] == [2, 1]
    assert shown.notes == ("lines that repeat another one were left out: 1",)
    assert hidden.notes == ("lines that repeat another one were left out: 2",)


def test_options_that_are_not_shown_are_answered_in_words(tmp_path: Path) -> None:
    row = {"video": "clip.mp4", "question": "What is it?", "options": PETS, "answer": "D"}
    (video,) = read_questions(write(tmp_path / "q.jsonl", row), show_options=False).videos
    assert video.items[0].text == "What is it?"
    assert video.items[0].is_right(" Nothing.")
    assert not video.items[0].is_right("D")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        (" b.", "B"),
        ("(C) a black cat", "C"),
        ("**D**", "D"),
        ("The correct answer is: B", "B"),
        ("Answer: C.", "C"),
        ("B\nbecause it meows", "B"),
        ("A cat", "B"),
        ("A dog.", "A"),
        ("It is a black cat that sleeps.", "C"),
        ("There is nothing to see", "D"),
        ("E", None),
        ("a dog and a cat", None),
        ("I. do not know", None),
        ("", None),
    ],
)
def test_an_answer_chooses_an_option_by_letter_or_text(answer: str, letter: str | None) -> None:
    assert chosen_option(answer, PETS) == letter


GOOD = {"video": "clip.mp4", "question": "Who?", "answer": "Ada"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"video": "clip.mp4"', "not JSON"),
        ("[1, 2]", "holds [1, 2] and not an object"),
        ({**GOOD, "video": "absent.mp4"}, "there is no video"),
        ({**GOOD, "video": ""}, "'video' is \"\""),
        ({**GOOD, "question": 3}, "'question' is 3: give it a text"),
        ({"video": "clip.mp4", "question": "Who?"}, "no 'answer'"),
        ({**GOOD, "answer": "?!"}, "has no words"),
        ({**GOOD, "answer": True}, "'answer' is true"),
        ({**GOOD, "task": ["a"]}, "'task' is"),
        ({**GOOD, "times": [-1]}, "'times' is [-1]: give it a list of seconds"),
        ({**GOOD, "options": ["Ada"]}, "2 to 26 different texts"),
        ({**GOOD, "options": ["Ada", "Ada"]}, "2 to 26 different texts"),
        ({**GOOD, "options": ["Ada", 2]}, "2 to 26 different texts"),
        ({**GOOD, "options": ["Eve", "Bob"]}, "'Ada' is none of its options"),
        ({**GOOD, "options": ["Eve", "Bob"], "answer": 2}, "write 0 to 1"),
        ({**GOOD, "options": ["1", "2"], "answer": 1}, 'write "1" or the letter'),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, row: object, said: str) -> None:
    file = write(tmp_path / "questions.jsonl", GOOD, "", row)
    with pytest.raises(SettingsError) as error:
        read_questions(file)
    assert f"{file}, line 3: " in str(error.value)
    assert said in str(error.value)


def test_files_that_hold_no_questions_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe{}")
    for name, said in (("empty", "holds no questions"), ("bytes", "not UTF-8"), ("absent", "can't be read")):
        with pytest.raises(SettingsError, match=rf"{name}\.jsonl.*{said}"):
            read_questions(tmp_path / f"{name}.jsonl")


# evaluation

SETTINGS = (
    Setting("fine", SummaryTokens((2,)), chunk_frames=2),
    Setting("random", oracle="random", selector=TopK(1, fine_edges=False), chunk_frames=2),
    Setting("equal", chunk_frames=2, same_size_as="random"),
)


@pytest.fixture
def questions(made_clip: Path, tmp_path: Path) -> QuestionSet:
    """Two questions about each of two videos."""
    rows = []
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_bytes(made_clip.read_bytes())
        rows += [
            {"video": name, "question": "What?", "answer": "noise", "task": "free", "times": [1.5]},
            {"video": name, "question": "Which?", "options": ["noise", "music"], "answer": "A", "task": "choice"},
        ]
    return read_questions(write(tmp_path / "questions.jsonl", *rows))


def run(
    engine: VideoX2L,
    questions: QuestionSet,
    kept: AnswersFile | None = None,
    progress: Callable[[EvaluationProgress], None] = lambda _: None,
    **changes: Any,
) -> EvaluationResult:
    return evaluate(
        engine,
        questions,
        changes.get("settings", SETTINGS),
        sampling=Sampling(),
        generation=changes.get("generation", Generation(max_new_tokens=3)),
        kept=kept,
        progress=progress,
    )


def asked(engine: VideoX2L, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that an engine is asked from now on."""
    seen: list[str] = []
    real = VideoX2L.stream

    def stream(self: VideoX2L, index: VideoIndex, question: str, **settings: Any) -> AnswerStream:
        seen.append(question)
        return real(self, index, question, **settings)

    monkeypatch.setattr(VideoX2L, "stream", stream)
    return seen


def comparable(result: EvaluationResult) -> list[list[dict[str, Any]]]:
    return [[vars(outcome) | {"index_s": 0, "ask_s": 0} for outcome in each.outcomes] for each in result.settings]


def test_an_interrupted_evaluation_keeps_its_answers_and_goes_on(
    engine: VideoX2L, questions: QuestionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(engine, questions)
    out = tmp_path / "answers.jsonl"
    seen = asked(engine, monkeypatch)

    def interrupt(done: EvaluationProgress) -> None:
        if done.answers == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(engine, questions, AnswersFile(out), interrupt)
    assert len(out.read_text().splitlines()) == 5
    seen.clear()
    with open(out, "a") as file:
        file.write('{"key": "cut off in the mid')
    resumed = run(engine, questions, AnswersFile(out))
    assert len(seen) == len(SETTINGS) * 4 - 5
    assert comparable(resumed) == comparable(whole)
    lines = [json.loads(line) for line in out.read_text().splitlines() if not line.endswith("mid")]
    assert {(line["setting"], line["video"], line["task"]) for line in lines} == {
        (setting.name, video, task)
        for setting in SETTINGS
        for video in ("one.mp4", "two.mp4")
        for task in ("free", "choice")
    }
    assert all(line["is_right"] in (True, False) and line["truth"] in ("noise", "A") for line in lines)
    again = run(engine, questions, AnswersFile(out))
    assert len(seen) == len(SETTINGS) * 4 - 5
    assert again["equal"].equal_levels == whole["equal"].equal_levels != ()


def test_answers_to_anything_else_are_asked_for_anew(
    engine: VideoX2L, questions: QuestionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS[1:2]
    out = tmp_path / "answers.jsonl"
    run(engine, questions, AnswersFile(out), settings=settings)
    seen = asked(engine, monkeypatch)
    run(
        engine,
        questions,
        AnswersFile(out),
        settings=(Setting("random", oracle="random", selector=TopK(2), chunk_frames=2),),
    )
    assert len(seen) == 4
    run(engine, questions, AnswersFile(out), settings=settings, generation=Generation(max_new_tokens=2))
    assert len(seen) == 8
    with open(tmp_path / "one.mp4", "ab") as video:
        video.write(b"\0" * 8)
    changed = read_questions(tmp_path / "questions.jsonl")
    run(engine, changed, AnswersFile(out), settings=settings)
    assert len(seen) == 10  # two questions about the changed video


def test_the_result_is_that_of_an_evaluation(engine: VideoX2L, questions: QuestionSet) -> None:
    result = run(engine, questions)
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert values["mean_tasks"] == ["free", "choice"]
    assert values["questions"]["file"] == "questions.jsonl"
    assert values["videos"] == 2
    assert len(values["differences"]) == 3
    recalls = [outcome.recall for outcome in result["random"].outcomes]
    assert [set(recall) for recall in recalls] == [{"@1", "in_detail"}, set()] * 2  # only one question has times
    assert result["random"].mean_accuracy.low is not None


def test_indexes_stay_in_a_store_on_disk_and_leave_memory_with_their_video(
    engine: VideoX2L, questions: QuestionSet, tmp_path: Path
) -> None:
    store = DiskStore(tmp_path / "store")
    run(replace(engine, store=store), questions, settings=SETTINGS[:1])
    fine = SETTINGS[0].engine(replace(engine, store=store))
    assert fine.index(tmp_path / "one.mp4").reused
    run(engine, questions, settings=SETTINGS[:1])
    assert not SETTINGS[0].engine(engine).index(tmp_path / "one.mp4").reused


def test_a_file_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    for content in ('{"video": "clip.mp4"}', '{"video": "clip.mp4"}\n', "dear diary"):
        (tmp_path / "mine").write_text(content)
        with pytest.raises(SettingsError, match="line 1 is not an answer"):
            AnswersFile(tmp_path / "mine")
        assert (tmp_path / "mine").read_text() == content
    with pytest.raises(StoreError, match="can't write to"):
        AnswersFile(tmp_path)
