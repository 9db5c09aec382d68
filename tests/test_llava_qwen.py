"""What Video-XL and Video-XL-2 share: prompts."""

from __future__ import annotations

import pytest

from videox2l.models.base import Turn


@pytest.mark.parametrize("adapter", ["video_xl", "video_xl_2"])
@pytest.mark.parametrize(
    ("first", "answer", "second"),
    [
        ("What is on the slide?", "The template {question} and {answer}.", "Which {answer} is next?"),
        ("What does {question} mean? And {answer}?", "It stands for your words.", "Why?"),
    ],
)
def test_names_in_braces_in_questions_and_answers_stay_as_they_are(adapter, first, answer, second, request):
    model = request.getfixturevalue(adapter)
    prompt = model.tokenizer.decode(model.question_ids("SECOND", (Turn("FIRST", "ANSWER"),)))
    expected = prompt.replace("FIRST", first).replace("ANSWER", answer).replace("SECOND", second)
    assert model.tokenizer.decode(model.question_ids(second, (Turn(first, answer),))) == expected
