"""Questions answered at once are answered as alone: they join and leave at any step, and fail or end by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from videox2l import Answer, FrameArray, Generation, Manual, OneLevel, Sampling, TopK, VideoIndex, VideoX2L
from videox2l.answering.generation import AnswerTokens, read
from videox2l.answering.scheduler import Scheduler
from videox2l.answering.stream import AnswerStream
from videox2l.errors import QuestionError, SettingsError, StoreError, VideoX2LError
from videox2l.index.reload import load_cache
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.oracles.base import Oracle
from videox2l.oracles.random import RandomOracle
from videox2l.store import DiskStore
from videox2l.store.disk import DiskShelf
from videox2l.testing.conformance import noise

QUESTIONS = ("Who is it?", "What turns red, and when?", "Why?", "Where does it go?", "How many are there? " * 5)
SHORT = Generation(max_new_tokens=12)


@pytest.fixture(autouse=True)
def never_ending(video_xl: MLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers as long as they may be, so that there is something to compare."""
    monkeypatch.setattr(video_xl, "eos_ids", ())


@pytest.fixture
def indexes(engine: VideoX2L) -> list[VideoIndex]:
    """Two videos of different lengths."""
    videos = (noise(12, 48, 64), 255 - noise(5, 48, 64))
    return [engine.index(FrameArray(pixels, range(len(pixels))), Sampling(fps=1)) for pixels in videos]


@dataclass
class Runs:
    """The runs of a decoder: tokens of each sequence."""

    sizes: list[list[int]]

    @property
    def most(self) -> int:
        return max(map(len, self.sizes))


@pytest.fixture
def runs(video_xl: MLLM, monkeypatch: pytest.MonkeyPatch) -> Runs:
    counted, real = Runs([]), video_xl.run

    def run(embeddings: Tensor, forward: Forward) -> Tensor:
        counted.sizes.append(forward.sizes)
        return real(embeddings, forward)

    monkeypatch.setattr(video_xl, "run", run)
    return counted


@pytest.mark.parametrize("limits", [{}, {"sequences": 2}, {"sequences": 3, "step_tokens": 7}, {"cache_tokens": 700}])
def test_answers_are_those_of_questions_asked_alone(
    engine: VideoX2L, indexes: list[VideoIndex], limits: dict[str, int]
) -> None:
    """Two videos, questions and answers of different lengths, greedy and sampled."""
    settings = [
        SHORT,
        Generation(max_new_tokens=20, temperature=1.5, seed=3),
        Generation(max_new_tokens=3),
        Generation(max_new_tokens=9, temperature=2.0, top_k=20, top_p=0.9, repetition_penalty=1.2, seed=5),
        Generation(max_new_tokens=15, repetition_penalty=1.3),
    ]
    asked = [(indexes[place % 2], QUESTIONS[place], settings[place]) for place in range(5)]
    alone = [engine.stream(index, question, generation=generation) for index, question, generation in asked]
    expected = [stream.answer for stream in alone]
    scheduler = engine.scheduler(**limits)
    together = [
        engine.stream(index, question, generation=generation, scheduler=scheduler)
        for index, question, generation in asked
    ]
    scheduler.run()
    assert [stream.token_ids for stream in together] == [stream.token_ids for stream in alone]
    assert [len(stream.token_ids) for stream in together] == [setting.max_new_tokens for setting in settings]
    for stream, answer in zip(together, expected, strict=True):
        assert same_answer(stream.answer, answer)
    assert scheduler.is_idle


def same_answer(answer: Answer, other: Answer) -> bool:
    return {**answer.to_json(), "timings_s": {}} == {**other.to_json(), "timings_s": {}}


@torch.no_grad()
def test_logits_are_those_of_questions_read_alone(engine: VideoX2L, indexes: list[VideoIndex]) -> None:
    model = engine.model
    levels = [(2,) * 6, (32, 2, 32)]
    ids = [model.question_ids(question) for question in QUESTIONS[:2]]

    def start() -> list[AnswerTokens]:
        caches = [load_cache(model, index, chosen) for index, chosen in zip(indexes, levels, strict=True)]
        return [AnswerTokens(model, cache, tokens, SHORT) for cache, tokens in zip(caches, ids, strict=True)]

    alone = [read(model, [answer])[1] for answer in start()]
    for most in (None, 10):
        answers, rows = start(), dict[int, Tensor]()
        while any(len(answer.unread) for answer in answers):
            reading = [answer for answer in answers if len(answer.unread)]
            places, logits = read(model, reading, most)
            rows |= {answers.index(reading[place]): row for place, row in zip(places, logits, strict=True)}
        torch.testing.assert_close(torch.stack([rows[0], rows[1]]), torch.cat(alone), atol=1e-4, rtol=0)


def test_many_answers_come_in_the_order_of_their_questions(engine: VideoX2L, indexes: list[VideoIndex]) -> None:
    several = [indexes[0], indexes[1], indexes[0]]
    answers = engine.ask_many(several, QUESTIONS[:3], generation=SHORT, selector=TopK(1))
    expected = [
        engine.ask(index, question, generation=SHORT, selector=TopK(1))
        for index, question in zip(several, QUESTIONS, strict=False)
    ]
    assert all(same_answer(answer, other) for answer, other in zip(succeeded(answers), expected, strict=True))
    of_one_video = succeeded(engine.ask_many(indexes[1], QUESTIONS[:3], generation=SHORT))
    assert [answer.question for answer in of_one_video] == list(QUESTIONS[:3])
    with pytest.raises(SettingsError, match="2 videos for 3 questions"):
        engine.ask_many(indexes, QUESTIONS[:3])


def succeeded(answers: Sequence[Answer | VideoX2LError]) -> list[Answer]:
    assert all(isinstance(answer, Answer) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Answer)]


def test_weights_are_read_once_for_all(engine: VideoX2L, indexes: list[VideoIndex], runs: Runs) -> None:
    engine.ask_many(indexes[0], QUESTIONS[:4], generation=SHORT, selector=OneLevel())
    prefills = [len(engine.model.question_ids(question)) for question in QUESTIONS[:4]]
    assert runs.sizes == [prefills] + [[1] * 4] * 11


def test_questions_join_and_leave_at_every_step(engine: VideoX2L, indexes: list[VideoIndex], runs: Runs) -> None:
    """The third joins in the step after the first has left, and is read in the run in which the second decodes."""
    scheduler = engine.scheduler(sequences=2)
    lengths = (3, 6, 2)
    for question, tokens in zip(QUESTIONS, lengths, strict=False):
        generation = Generation(max_new_tokens=tokens)
        engine.stream(indexes[0], question, selector=OneLevel(), generation=generation, scheduler=scheduler)
    scheduler.run()
    first, second, third = (len(engine.model.question_ids(question)) for question in QUESTIONS[:3])
    assert runs.sizes == [[first, second], [1, 1], [1, 1], [1, third], [1, 1], [1]]


def test_a_step_reads_no_more_tokens_than_it_may(engine: VideoX2L, indexes: list[VideoIndex], runs: Runs) -> None:
    engine.ask_many(
        indexes[0], QUESTIONS, selector=OneLevel(), generation=SHORT, scheduler=engine.scheduler(step_tokens=9)
    )
    asked = sum(len(engine.model.question_ids(question)) for question in QUESTIONS)
    assert max(map(sum, runs.sizes)) == 9
    assert sum(map(sum, runs.sizes)) == asked + len(QUESTIONS) * 11


def test_caches_in_flight_stay_within_their_limit(engine: VideoX2L, indexes: list[VideoIndex], runs: Runs) -> None:
    alone = engine.stream(indexes[0], QUESTIONS[0], selector=OneLevel(), generation=SHORT).needed_tokens
    seen: list[int] = []
    for limit, most in ((alone - 1, 1), (2 * alone + 8, 2), (3 * alone + 8, 3)):
        runs.sizes.clear()
        scheduler = engine.scheduler(cache_tokens=limit)
        for _ in range(4):
            engine.stream(indexes[0], QUESTIONS[0], selector=OneLevel(), generation=SHORT, scheduler=scheduler)
        while not scheduler.is_idle:
            scheduler.step()
            seen.append(scheduler.tokens_in_flight)
            assert scheduler.tokens_in_flight <= max(limit, alone)
        assert runs.most == most
    assert max(seen) > 2 * alone


def test_each_answer_is_told_piece_by_piece_and_once(engine: VideoX2L, indexes: list[VideoIndex]) -> None:
    scheduler = engine.scheduler()
    pieces: dict[str, list[str]] = {question: [] for question in QUESTIONS[:3]}
    finished: list[Answer] = []
    streams = [
        engine.stream(
            indexes[0], question, generation=SHORT, scheduler=scheduler, piece=told.append, finished=finished.append
        )
        for question, told in pieces.items()
    ]
    read_here = list(streams[1])  # whoever takes a piece moves all of them
    assert {len(stream.token_ids) for stream in streams} == {12}
    assert read_here == pieces[QUESTIONS[1]]
    assert ["".join(told).strip() for told in pieces.values()] == [stream.answer.text for stream in streams]
    assert {answer.question: answer.text for answer in finished} == {
        stream.question: stream.answer.text for stream in streams
    }
    assert len(finished) == 3
    assert list(streams[0]) == pieces[QUESTIONS[0]]


def test_a_stop_string_ends_one_answer_alone(engine: VideoX2L, indexes: list[VideoIndex]) -> None:
    free = [engine.ask(indexes[0], question, generation=SHORT).text for question in QUESTIONS[:3]]
    stop = free[1][3:5]
    scheduler = engine.scheduler()
    streams = [
        engine.stream(indexes[0], question, generation=replace(SHORT, stop=stops), scheduler=scheduler)
        for question, stops in zip(QUESTIONS, ((), (stop,), ()), strict=False)
    ]
    scheduler.run()
    assert [stream.answer.text for stream in streams] == [free[0], free[1][: free[1].index(stop)].strip(), free[2]]
    assert len(streams[1].token_ids) < 12


def test_conversations_are_held_at_once(engine: VideoX2L, indexes: list[VideoIndex]) -> None:
    def talk(scheduler: Scheduler | None) -> list[list[str]]:
        chats = [engine.chat(index) for index in indexes]
        for question in QUESTIONS[:3]:
            turns = [chat.stream(question, generation=SHORT, scheduler=scheduler) for chat in chats]
            for turn in turns:
                assert turn.answer.question == question
        return [[turn.answer for turn in chat.turns] for chat in chats]

    together = talk(engine.scheduler())
    assert together == talk(None)
    assert [len(answers) for answers in together] == [3, 3]


# failing and leaving


@dataclass(frozen=True)
class Refusing(Oracle):
    """Scores like another one, but refuses a question."""

    question: str

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        if question == self.question:
            raise SettingsError(f"{question} is refused: ask something else")
        return RandomOracle().relevance(model, index, question)


def test_a_question_that_fails_takes_no_other_with_it(engine: VideoX2L, indexes: list[VideoIndex]) -> None:
    """One is empty, one too long, one refused by the oracle: each has its error in its place."""
    questions = [QUESTIONS[0], " ", QUESTIONS[1], "why? " * 40_000, QUESTIONS[2]]
    answers = engine.ask_many(indexes[0], questions, oracle=Refusing(QUESTIONS[1]), generation=SHORT)
    assert [type(answer) for answer in answers] == [Answer, QuestionError, SettingsError, QuestionError, Answer]
    assert str(answers[2]).startswith(f"{QUESTIONS[1]} is refused")
    for place in (0, 4):
        alone = engine.ask(indexes[0], questions[place], oracle=Refusing(QUESTIONS[1]), generation=SHORT)
        assert same_answer(succeeded([answers[place]])[0], alone)


def test_a_damaged_chunk_fails_the_questions_that_read_it(engine: VideoX2L, tmp_path: Path) -> None:
    on_disk = replace(engine, store=DiskStore(tmp_path))
    index = on_disk.index(FrameArray(noise(12, 48, 64), range(12)), Sampling(fps=1))
    broken = replace(
        index, entries=tuple(replace(e, stored_as={2: 9, 32: 32}) if e.chunk.index == 3 else e for e in index.entries)
    )
    scheduler = on_disk.scheduler()
    streams = [
        on_disk.stream(broken, QUESTIONS[0], selector=Manual((chunk,)), generation=SHORT, scheduler=scheduler)
        for chunk in (2, 3, 4)
    ]
    scheduler.run()
    with pytest.raises(StoreError, match=r"has no 9\.keys"):
        _ = streams[1].answer
    with pytest.raises(StoreError):
        next(streams[1])
    for stream, chunk in ((streams[0], 2), (streams[2], 4)):
        alone = on_disk.ask(index, QUESTIONS[0], selector=Manual((chunk,)), generation=SHORT)
        assert stream.answer.text == alone.text


def test_what_a_caller_does_with_a_piece_fails_its_own_question_alone(
    engine: VideoX2L, indexes: list[VideoIndex]
) -> None:
    def refuse(piece: str) -> None:
        raise OSError("the line is closed")

    scheduler = engine.scheduler()
    told: list[str] = []
    streams = [
        engine.stream(indexes[0], QUESTIONS[0], generation=SHORT, scheduler=scheduler, piece=refuse),
        engine.stream(indexes[0], QUESTIONS[1], generation=SHORT, scheduler=scheduler, piece=told.append),
    ]
    scheduler.run()
    with pytest.raises(OSError, match="the line is closed"):
        _ = streams[0].answer
    assert streams[1].answer.text == engine.ask(indexes[0], QUESTIONS[1], generation=SHORT).text


def test_a_cancelled_question_leaves_and_says_so(engine: VideoX2L, indexes: list[VideoIndex], runs: Runs) -> None:
    scheduler = engine.scheduler(sequences=2)
    streams = [
        engine.stream(indexes[0], question, selector=OneLevel(), generation=SHORT, scheduler=scheduler)
        for question in QUESTIONS[:4]
    ]
    for _ in range(4):
        scheduler.step()
    streams[0].cancel()
    streams[3].cancel()
    streams[3].cancel()  # once more changes nothing
    scheduler.run()
    assert len(streams[0].token_ids) == 4
    assert streams[0].answer.text == engine.model.tokenizer.decode(streams[0].token_ids).strip()
    assert streams[0].answer.notes[-1] == "cancelled: the answer is not complete"
    with pytest.raises(QuestionError, match="was cancelled before it was begun"):
        _ = streams[3].answer
    for stream in streams[1:3]:
        alone = engine.ask(indexes[0], stream.question, selector=OneLevel(), generation=SHORT)
        assert same_answer(stream.answer, alone)
    assert streams[1].merged is streams[0].tokens is None  # their memory is free


@pytest.mark.parametrize("scheduled", [True, False])
def test_who_is_told_a_piece_may_cancel_the_question(
    engine: VideoX2L, indexes: list[VideoIndex], scheduled: bool
) -> None:
    told: list[str] = []

    def hang_up(piece: str) -> None:
        told.append(piece)
        if len(told) == 3:
            stream.cancel()

    scheduler = engine.scheduler() if scheduled else None
    stream = engine.stream(indexes[0], QUESTIONS[0], generation=SHORT, scheduler=scheduler, piece=hang_up)
    assert stream.answer.text == "".join(told).strip()
    assert len(told) == 3
    assert stream.answer.notes[-1] == "cancelled: the answer is not complete"


def test_an_answer_may_cancel_another(engine: VideoX2L, indexes: list[VideoIndex]) -> None:
    scheduler = engine.scheduler()
    later: list[AnswerStream] = []

    def cancel_the_other(piece: str) -> None:
        later[0].cancel()

    first = engine.stream(indexes[0], QUESTIONS[0], generation=SHORT, scheduler=scheduler, piece=cancel_the_other)
    later.append(engine.stream(indexes[0], QUESTIONS[1], generation=SHORT, scheduler=scheduler))
    scheduler.run()
    assert len(first.token_ids) == 12
    assert len(later[0].token_ids) < 12


@pytest.mark.parametrize("at", ["run", "logits"])
def test_a_run_that_is_interrupted_can_be_tried_again(
    engine: VideoX2L, indexes: list[VideoIndex], at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = engine.ask_many(indexes[0], QUESTIONS[:2], generation=SHORT)
    scheduler = engine.scheduler()
    streams = [engine.stream(indexes[0], question, generation=SHORT, scheduler=scheduler) for question in QUESTIONS[:2]]
    for _ in range(3):
        scheduler.step()
    real = getattr(engine.model, at)

    def interrupted(*given: Any) -> None:
        real(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine.model, at, interrupted)
        with pytest.raises(KeyboardInterrupt):
            scheduler.step()
    scheduler.run()
    assert [stream.answer.text for stream in streams] == [answer.text for answer in succeeded(expected)]


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"sequences": 0}, "sequences=0"),
        ({"cache_tokens": 0}, "cache_tokens=0"),
        ({"step_tokens": 4}, "step_tokens=4 is less than sequences=8"),
    ],
)
def test_limits_that_leave_no_room_are_refused(engine: VideoX2L, limits: dict[str, int], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        engine.scheduler(**limits)


def test_a_question_of_another_model_is_refused(engine: VideoX2L, video_xl_2: MLLM, indexes: list[VideoIndex]) -> None:
    with pytest.raises(SettingsError, match="this scheduler answers with"):
        engine.stream(indexes[0], "a?", scheduler=VideoX2L(video_xl_2).scheduler())


# reading


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is read from disk: (part, tensor)."""
    seen: list[tuple[str, str]] = []
    real = DiskShelf.read

    def note(shelf: DiskShelf, part: str, names: Sequence[str]) -> list[Tensor]:
        seen.extend((part, name) for name in names)
        return real(shelf, part, names)

    monkeypatch.setattr(DiskShelf, "read", note)
    return seen


@pytest.fixture
def stored(engine: VideoX2L, tmp_path: Path) -> Iterator[tuple[VideoX2L, VideoIndex]]:
    on_disk = replace(engine, store=DiskStore(tmp_path), keeps_cache=False)
    yield on_disk, on_disk.index(FrameArray(noise(12, 48, 64), range(12)), Sampling(fps=1))


def keys_read(reads: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(read for read in reads if read[1].endswith(".keys"))


def test_a_question_reads_each_chunk_once(stored: tuple[VideoX2L, VideoIndex], reads: list[tuple[str, str]]) -> None:
    """The oracle reads the coarsest level of all chunks; the cache needs it of those that were not chosen."""
    engine, index = stored
    reads.clear()
    answer = engine.ask(index, QUESTIONS[0], oracle="attention", selector=TopK(1), generation=SHORT)
    fine = {(f"chunk-{chunk.index:05d}", "2.keys") for chunk in answer.chunks if chunk.level == 2}
    assert keys_read(reads) == sorted({(f"chunk-{chunk:05d}", "32.keys") for chunk in range(6)} | fine)
    assert len(fine) == 3


def test_a_batch_reads_each_chunk_once_for_all_its_questions(
    stored: tuple[VideoX2L, VideoIndex], reads: list[tuple[str, str]]
) -> None:
    engine, index = stored
    reads.clear()
    answers = succeeded(engine.ask_many(index, QUESTIONS, oracle="attention", selector=TopK(1), generation=SHORT))
    fine = {(f"chunk-{chunk.index:05d}", "2.keys") for each in answers for chunk in each.chunks if chunk.level == 2}
    assert keys_read(reads) == sorted({(f"chunk-{chunk:05d}", "32.keys") for chunk in range(6)} | fine)
