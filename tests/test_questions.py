"""Questions about needle videos: every answer follows from the script, every word has a token."""

import random
import re
from collections import Counter

import pytest

from videox2l.synthesis.questions import ASK, TASKS, WORD_PATTERN, clock, final_answer, questions_for, vocabulary
from videox2l.synthesis.unknown import ASKED_TEMPLATES, TRAINED_TEMPLATES, UNKNOWN_ANSWER
from videox2l.synthesis.world import KINDS, VideoScript, sample_script


@pytest.fixture(scope="module")
def drawn():
    rng = random.Random(0)
    scripts = [sample_script(rng, rng.choice((10, 60, 100, 400))) for _ in range(40)]
    return [(script, questions_for(script, rng, per_task=4)) for script in scripts]


def named(script, question):
    return [event for event in script.unique_events if event.name in question.text.lower()]


def test_every_task_is_asked_and_answers_follow_from_the_script(drawn):
    asked: Counter[str] = Counter()
    for script, questions in drawn:
        for question in questions:
            asked[question.task] += 1
            events = named(script, question)
            if question.task == "attribute":
                assert question.answer == str(events[0].digit)
            elif question.task == "where":
                assert question.answer == events[0].corner
            elif question.task == "when":
                assert question.answer == clock(events[0].start_s)
            elif question.task == "exist":
                assert question.answer == ("yes" if events else "no")
            elif question.task == "order":
                assert question.answer == min(events, key=lambda event: event.start_s).name
            elif question.task == "at":
                seen = [e for e in script.events if e.corner in question.text.lower()]
                seen = [e for e in seen if e.visible_at(question.needle_times_s[0])]
                assert [e.name for e in seen] == [question.answer]
                assert clock(question.needle_times_s[0]) in question.text
            elif question.task == "count":
                assert question.answer == str(len(question.needle_times_s))
            elif question.task == "pair" and len(events) == 1:
                following = min(e.start_s for e in script.events if e.start_s > events[0].start_s)
                assert [str(e.digit) for e in script.events if e.start_s == following] == [question.answer]
            elif question.task == "pair":
                assert question.answer == max(events, key=lambda event: event.digit).name
                assert events[0].digit != events[1].digit
            elif question.task == "unknown":
                assert question.answer == UNKNOWN_ANSWER and not events
            else:
                assert question.answer in (script.place, script.light)
    assert set(asked) == set(TASKS) and min(asked.values()) >= 100


def test_options_hold_the_answer_once_and_at_most_four(drawn):
    for _, questions in drawn:
        for question in questions:
            assert question.options.count(question.answer) == 1
            assert len(set(question.options)) == len(question.options) <= 4
            if question.task in ("attribute", "where", "when", "at", "count"):
                assert len(question.options) == 4


def test_exist_is_balanced_and_its_absent_needles_are_near_misses():
    rng = random.Random(1)
    answers: Counter[str] = Counter()
    for _ in range(100):
        script = sample_script(rng, 100)
        for question in questions_for(script, rng, per_task=5, tasks=("exist",)):
            answers[question.answer] += 1
            if question.answer == "no":
                kind = next(kind for kind in KINDS if " ".join(kind) in question.text.lower())
                assert kind[0] in {e.colour for e in script.events} and kind[1] in {e.shape for e in script.events}
                assert question.needle_times_s == ()
    assert abs(answers["yes"] / answers.total() - 0.5) < 0.08


def test_every_word_has_a_token_and_times_are_whole(drawn):
    words = set(vocabulary())
    for script, questions in drawn:
        dense = [ASK[task](script, random.Random(0)) for task in ("describe", "look")]
        for question in [*questions, *filter(None, dense)]:
            texts = (question.text, *question.options) if question.task != "unknown" else ()
            for text in (question.answer, question.spoken, *texts):
                assert set(re.findall(WORD_PATTERN, text.lower())) <= words, text
    assert len(vocabulary()) == len(words)
    assert clock(0) == "0:00" and clock(72.0) == "1:12" and clock(1199.9) == "19:59"


def test_no_unknown_question_is_trained_on():
    assert not {*ASKED_TEMPLATES} & {*TRAINED_TEMPLATES}
    script = sample_script(random.Random(0), 60)
    rng = random.Random(1)
    asked = {question.text for _ in range(400) if (question := ASK["unknown"](script, rng))}
    trained = {question.text for _ in range(400) if (question := ASK["strange"](script, rng))}
    assert min(len(asked), len(trained)) > 200 and not asked & trained


def test_an_answers_truth_stands_behind_its_reasons():
    assert final_answer("0:42 1:13 so red star") == "red star"
    assert final_answer("7") == "7" and final_answer("it is 0:42, so So blue") == "blue"
    assert final_answer("absolute also") == "absolute also"


def test_the_same_state_of_chance_gives_the_same_questions():
    script = sample_script(random.Random(4), 100)
    assert questions_for(script, random.Random(9)) == questions_for(script, random.Random(9))


def test_a_video_without_scenery_or_needles_is_asked_what_it_can_answer():
    rng = random.Random(0)
    bare = sample_script(rng, 30, scenery=False)
    assert "global" not in {question.task for question in questions_for(bare, rng)}
    empty = questions_for(VideoScript(0, 30, ()), rng, per_task=8)
    assert {question.task for question in empty} <= {"exist", "unknown"}
