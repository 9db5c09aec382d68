"""Times in a question: a clear one decides what is read, a vague one weights, none changes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from command import Run
from torch import Tensor

from videox2l import Answer, Generation, TopK, VideoIndex, VideoX2L
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.oracles.fusion import Fusion
from videox2l.oracles.random import RandomOracle
from videox2l.oracles.temporal import Temporal
from videox2l.oracles.time import TimeOracle
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings
from videox2l.synthesis.writer import VideoFormat
from videox2l.video import Sampling

SHORT = Generation(max_new_tokens=2)


@dataclass(frozen=True)
class Fixed(Oracle):
    """Scores given beforehand, -0.3 in the second chunk and less in all others by default."""

    scores: tuple[float, ...] = (-0.6, -0.3, -0.7, -0.4, -0.9, -0.8)

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        return torch.tensor(self.scores)


@pytest.fixture
def asking(engine: VideoX2L) -> VideoX2L:
    """Reads the two best chunks and no others in full detail."""
    return replace(engine, oracle=Fixed(), selector=TopK(2, fine_edges=False))


@pytest.fixture
def index(asking: VideoX2L, made_clip: Path) -> VideoIndex:
    """Six chunks of two seconds."""
    index = asking.index(made_clip)
    assert [(chunk.start_s, chunk.end_s) for chunk in index.chunks] == [(start, start + 2) for start in range(0, 12, 2)]
    return index


def ask(engine: VideoX2L, index: VideoIndex, question: str) -> Answer:
    return engine.ask(index, question, generation=SHORT)


def ranked(answer: Answer) -> list[int]:
    return sorted(range(len(answer.chunks)), key=lambda chunk: -(answer.chunks[chunk].score or 0))


def spans(answer: Answer) -> list[tuple[float, float]]:
    return [(moment.start_s, moment.end_s) for moment in answer.moments]


def chosen(answer: Answer) -> set[int]:
    return {chunk.index for chunk in answer.chunks if chunk.is_chosen}


def test_a_clear_time_decides_and_the_oracle_ranks_the_rest(asking: VideoX2L, index: VideoIndex) -> None:
    answer = ask(asking, index, "What is it at 0:09?")
    assert ranked(answer) == [4, 1, 3, 0, 2, 5]
    assert chosen(answer) == {4, 1}
    assert spans(answer) == [(9, 10)]
    assert answer.moments[0].peak_s is None
    assert answer.notes == ()


def test_the_oracle_ranks_what_lies_within_a_clear_time(asking: VideoX2L, index: VideoIndex) -> None:
    answer = ask(asking, index, "What is it between 0:04 and 0:12?")
    assert ranked(answer) == [3, 2, 5, 4, 1, 0]
    assert spans(answer) == [(4, 12)]


def test_two_clear_times_are_both_read(asking: VideoX2L, index: VideoIndex) -> None:
    answer = ask(asking, index, "Is it the same at 0:05 and at 0:11?")
    assert chosen(answer) == {2, 5}
    assert spans(answer) == [(5, 6), (11, 12)]


def test_a_vague_time_weights(asking: VideoX2L, index: VideoIndex) -> None:
    """In a video of six minutes, near chunks come before those that are like others, not before one that stands out."""
    entries = tuple(
        replace(entry, chunk=replace(entry.chunk, start_s=60.0 * number, end_s=60.0 * number + 60))
        for number, entry in enumerate(index.entries)
    )
    spec = replace(index.spec, video=replace(index.spec.video, end_s=360.0))
    long = replace(index, entries=entries, spec=spec)

    def best(scores: tuple[float, ...], question: str) -> list[int]:
        given = TimeOracle(Fixed(scores)).score(asking.model, long, question).chunks
        return given.argsort(descending=True).tolist()[:2]

    alike, outlier = (0.8, 0.6, 0.7, 0.6, 0.5, 0.6), (0.0, 1.0, 0.0, 0.1, 0.0, 0.1)
    assert best(alike, "What is it?") == [0, 2]
    assert best(alike, "What is it around 5:30?") == [0, 5]
    assert best(outlier, "What is it around 5:30?") == [1, 5]
    assert best(outlier, "What is it at 5:30?") == [5, 1]


def test_a_vague_time_names_no_moment_of_its_own(asking: VideoX2L, index: VideoIndex) -> None:
    answer = ask(asking, index, "What is it near the end?")
    assert {(moment.start_s, moment.end_s) for moment in answer.moments} == {
        (chunk.start_s, chunk.end_s) for chunk in answer.chunks if chunk.is_chosen
    }


@pytest.mark.parametrize("question", ["What is it?", "What do you see at first glance?", "Who is up 24/7?"])
def test_without_a_time_the_scores_are_the_oracles_own(asking: VideoX2L, index: VideoIndex, question: str) -> None:
    answer = ask(asking, index, question)
    assert torch.equal(torch.tensor([chunk.score for chunk in answer.chunks]), torch.tensor(Fixed().scores))
    assert chosen(answer) == {1, 3}
    assert answer.notes == ()


def test_times_can_be_left_unread(asking: VideoX2L, index: VideoIndex) -> None:
    answer = ask(replace(asking, reads_times=False), index, "What is it at 0:09?")
    assert chosen(answer) == {1, 3}


@pytest.mark.parametrize(
    ("question", "note"),
    [
        ("What is it at 1:30?", "the question names 1:30 and the video ends at 0:12: it was left out of account"),
        ("What is it after 1:30?", "the question names 1:30 and the video ends at 0:12: it was left out of account"),
        ("What is it from 0:09 to 0:03?", "from 0:09 to 0:03, which ends before it starts: it was left out of account"),
        ("What is it 90 seconds before the end?", "names a time before 0:00, where the video starts: it was left out"),
        ("What is it around minute 3?", "the question names 3:00 and the video ends at 0:12"),
    ],
)
def test_a_time_that_can_not_be_is_left_out_and_said(
    asking: VideoX2L, index: VideoIndex, question: str, note: str
) -> None:
    answer = ask(asking, index, question)
    (said,) = answer.notes
    assert note in said
    assert [chunk.score for chunk in answer.chunks] == pytest.approx(Fixed().scores)


def test_a_time_before_the_part_that_was_looked_at_is_left_out(asking: VideoX2L, made_clip: Path) -> None:
    index = asking.index(made_clip, Sampling(start_s=4))
    asking = replace(asking, oracle=Fixed((0.1, 0.2, 0.3, 0.4)))
    (note,) = ask(asking, index, "What is it at 0:02?").notes
    assert "a time before 0:04, where the video starts" in note
    answer = ask(asking, index, "What is it in the first three seconds?")
    assert spans(answer) == [(4, 7)]
    assert chosen(answer) == {0, 1}


def test_alone_it_ranks_by_distance_and_says_if_there_is_no_time(engine: VideoX2L, index: VideoIndex) -> None:
    alone = replace(engine, oracle="time")
    answer = ask(alone, index, "What is it at 0:05?")
    assert ranked(answer)[0] == 2
    assert ranked(answer)[1:3] in ([1, 3], [3, 1])
    assert answer.to_json()["oracle"] == "time"
    answer = ask(alone, index, "What is it?")
    assert {chunk.score for chunk in answer.chunks} == {0.0}
    (note,) = answer.notes
    assert "no time in the question" in note


def test_chance_stays_chance(asking: VideoX2L, index: VideoIndex) -> None:
    question = "What is it at 0:09?"
    drawn = RandomOracle().score(asking.model, index, question).chunks
    answer = ask(replace(asking, oracle="random"), index, question)
    assert [chunk.score for chunk in answer.chunks] == drawn.tolist()
    assert not Temporal(RandomOracle()).takes_times
    assert not Fusion((Fixed(), TimeOracle())).takes_times
    assert Temporal(Fusion((Fixed(), Fixed()))).takes_times


def test_the_answer_still_names_the_oracle_that_was_chosen(engine: VideoX2L, index: VideoIndex) -> None:
    assert ask(engine, index, "What is it at 0:09?").to_json()["oracle"] == "cascade"


def test_the_command_line_can_leave_times_unread(run: Run, made_clip: Path) -> None:
    asked = ("ask", made_clip, "What is it at 0:09?", "--chunk-frames", 2, "--k", 1, "--max-new-tokens", 1, "--json")
    named, unread = (json.loads(run(*asked, *more)[1])["moments"] for more in ((), ("--no-times",)))
    assert [(moment["start_s"], moment["end_s"]) for moment in named] == [(9, 10)]
    assert {moment["end_s"] - moment["start_s"] for moment in unread} == {2}


def test_without_an_encoder_the_chunk_of_a_named_second_is_found(tmp_path: Path) -> None:
    """On a fresh needle video, where attention alone finds few of them."""
    nano = VideoX2L.from_pretrained("nano", device="cpu", oracle="attention", selector=TopK(1, fine_edges=False))
    settings = NeedleSettings(100 / 60, 78, VideoFormat(fps=2), questions=8, tasks=("at",))
    video = NeedlePlan(settings).video(0)
    video.write(tmp_path / "needles.mp4", settings.format)
    index = nano.index(tmp_path / "needles.mp4")
    found = 0
    for question in video.questions:
        (time_s,) = question.needle_times_s
        answer = nano.ask(index, question.text, generation=SHORT)
        (read,) = (chunk for chunk in answer.chunks if chunk.is_chosen)
        (moment,) = answer.moments
        found += read.start_s <= time_s < read.end_s and moment.start_s <= time_s < moment.end_s + 1e-3
    assert found == len(video.questions) == 8
