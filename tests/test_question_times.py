"""The times that questions name: a large set of phrasings and decoys, half of it held out, and single cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from time_phrasings import Half, Phrasing, decoys, phrasings

from videox2l.oracles.question_times import question_times

HALVES: tuple[Half, ...] = ("development", "held out")


def is_right(phrasing: Phrasing) -> bool:
    """Whether the ranges are found to the second, and as clear as they are said."""
    found = question_times(phrasing.text, 0.0, phrasing.video_s)
    ranges = sorted((time.start_s, time.end_s) for time in found)
    return (
        len(ranges) == len(phrasing.ranges)
        and all(time.is_clear == phrasing.is_clear for time in found)
        and all(
            abs(start - true_start) <= 1.01 and abs(end - true_end) <= 1.01
            for (start, end), (true_start, true_end) in zip(ranges, sorted(phrasing.ranges), strict=True)
        )
    )


@pytest.mark.parametrize("half", HALVES)
def test_named_times_are_found(half: Half) -> None:
    questions = phrasings(half)
    missed = [phrasing.text for phrasing in questions if not is_right(phrasing)]
    assert len(questions) >= 500
    assert len(missed) <= 0.02 * len(questions), missed


@pytest.mark.parametrize("half", HALVES)
def test_what_only_looks_like_a_time_is_none(half: Half) -> None:
    questions = decoys(half)
    false = [decoy.text for decoy in questions if question_times(decoy.text, 0.0, decoy.video_s)]
    assert len(questions) >= 500
    assert len(false) <= 0.01 * len(questions), false


def test_questions_that_were_typed_one_by_one_are_read_too() -> None:
    """About a video of ten minutes; in free English, not made of the templates of the large set."""
    lines = (Path(__file__).parent / "time_questions.jsonl").read_text().splitlines()
    wrong: dict[bool, list[str]] = {True: [], False: []}
    asked = [(row["question"], row["range"]) for row in map(json.loads, lines)]
    for text, span in asked:
        found = [(time.start_s, time.end_s) for time in question_times(text, 0.0, 600.0)]
        is_right = found == [] if span is None else len(found) == 1 and found[0] == pytest.approx(span, abs=1.01)
        if not is_right:
            wrong[span is not None].append(text)
    named = sum(span is not None for _, span in asked)
    assert named >= 100
    assert len(wrong[True]) <= 0.05 * named, wrong[True]
    assert len(wrong[False]) <= 0.02 * (len(asked) - named), wrong[False]


def test_the_halves_share_no_question() -> None:
    for questions in (phrasings, decoys):
        seen, held_out = ({phrasing.text for phrasing in questions(half)} for half in HALVES)
        assert len(held_out - seen) >= 500
    assert sum(phrasing.is_unseen for phrasing in phrasings("held out")) >= 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is it at 1:23?", [(83, 84, True)]),
        ("What is it at 0:00:54?", [(54, 55, True)]),
        ("67 seconds in, who speaks?", [(67, 68, True)]),
        ("between 0:30 and 0:40", [(30, 40, True)]),
        ("from 30s to 40s", [(30, 40, True)]),
        ("in the first ten seconds", [(100, 110, True)]),
        ("in the last minute", [(640, 700, True)]),
        ("at the end", [(640, 700, False)]),
        ("halfway", [(370, 430, False)]),
        ("after 2 minutes", [(120, 700, False)]),
        ("just before 2:00", [(110, 120, False)]),
        ("around minute 5", [(300, 360, False)]),
        ("two and a half minutes in", [(150, 151, True)]),
        ("from 0:50 to 0:40", [(50, 40, True)]),
        ("Is it the same at 2:10 as at the end?", [(130, 131, True), (640, 700, False)]),
        ("<audio> What is said at 2:10?", [(130, 131, True)]),
        ("At first glance, is it the 90s at 3:30 pm?", []),
        ("What is it around 30 seconds?", [(30, 31, False)]),
        ("What is she looking for 130 seconds in?", [(130, 131, True)]),
        ("Does she wait for 30 seconds in the rain?", []),
        ('Who says "let us meet at 2:10" and leaves?', []),
        ("When does it start?\nA. at 2:10\nB) at 3:20\n(C) in the last minute", []),
        ("At 2:10, what is it?\nA. a cat\nB. a dog", [(130, 131, True)]),
        ("At 2'10\" or at 3'20\"?", [(130, 131, True), (200, 201, True)]),
        ("", []),
    ],
)  # fmt: skip
def test_a_part_of_a_video_has_its_own_start_and_end(text: str, expected: list[tuple[float, float, bool]]) -> None:
    """Looked at from 1:40 to 11:40."""
    found = question_times(text, 100.0, 700.0)
    assert [(time.start_s, time.end_s, time.is_clear) for time in found] == expected
