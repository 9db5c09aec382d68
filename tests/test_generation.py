"""Decoding is transformers' own: the same ids, greedy or sampled; text streams whole characters and stops in time."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import plain_qwen2
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from videox2l import Generation
from videox2l.answering.generation import generate
from videox2l.answering.text import AnswerText
from videox2l.cli.options import GenerationOptions
from videox2l.errors import SettingsError
from videox2l.models.base import Decoding
from videox2l.models.video_xl.adapter import VideoXL


@pytest.fixture(scope="module")
def plain(checkpoint: Path) -> Qwen2ForCausalLM:
    return plain_qwen2(checkpoint)


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(checkpoint)


SAMPLING = [
    Generation(),
    Generation(repetition_penalty=1.4),
    Generation(temperature=1.0),
    Generation(temperature=0.6, seed=3),
    Generation(temperature=2.5, top_k=5, seed=1),
    Generation(temperature=2.0, top_p=0.7, seed=2),
    Generation(temperature=3.0, top_k=20, top_p=0.6, repetition_penalty=1.3, seed=4),
]


@pytest.mark.parametrize("settings", SAMPLING, ids=str)
def test_the_ids_are_those_of_transformers_generate(
    video_xl: VideoXL, plain: Qwen2ForCausalLM, settings: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_xl, "eos_ids", ())
    settings = replace(settings, max_new_tokens=20)
    ids = torch.randint(0, 256, (30,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = list(generate(video_xl, video_xl.new_cache(10), ids, settings))
    decoding = settings.decoding(Decoding())
    sampling = {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
    torch.manual_seed(settings.seed)
    theirs = plain.generate(
        ids[None],
        attention_mask=torch.ones(1, 30, dtype=torch.long),
        max_new_tokens=20,
        do_sample=decoding.temperature > 0,
        repetition_penalty=decoding.repetition_penalty,
        eos_token_id=None,
        pad_token_id=0,
        **(sampling if decoding.temperature > 0 else {}),
    )
    assert ours == theirs[0, 30:].tolist()


OWN = Decoding(temperature=0.6, top_k=5, top_p=0.9, repetition_penalty=1.3)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Generation(), Decoding(repetition_penalty=1.3)),  # greedy unless asked, whatever the checkpoint samples with
        (Generation(temperature=2.0), Decoding(2.0, repetition_penalty=1.3)),
        (Generation(temperature=None), OWN),
        (Generation(temperature=None, top_k=9), replace(OWN, top_k=9)),
        (Generation(temperature=None, top_p=1.0), replace(OWN, top_p=1.0)),
        (Generation(repetition_penalty=1.0), Decoding()),
    ],
    ids=str,
)
def test_what_is_left_open_is_as_the_checkpoint_says(settings: Generation, expected: Decoding) -> None:
    assert settings.decoding(OWN) == expected


def test_a_checkpoints_own_way_decodes_its_answers(video_xl: VideoXL, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(settings: Generation) -> list[int]:
        with torch.no_grad():
            return list(
                generate(video_xl, video_xl.new_cache(64), torch.arange(9), replace(settings, max_new_tokens=20))
            )

    monkeypatch.setattr(video_xl, "eos_ids", ())
    penalized = answer(Generation(repetition_penalty=OWN.repetition_penalty))
    sampled = answer(Generation(1, OWN.temperature, OWN.top_k, OWN.top_p, OWN.repetition_penalty))
    monkeypatch.setattr(video_xl, "decoding", OWN)
    assert answer(Generation()) == penalized != answer(Generation(repetition_penalty=1.0))
    assert answer(Generation(temperature=None)) == sampled


def test_a_seed_repeats_itself_and_another_differs(video_xl: VideoXL) -> None:
    def answer(seed: int) -> list[int]:
        settings = Generation(temperature=2.0, seed=seed, max_new_tokens=20)
        with torch.no_grad():
            return list(generate(video_xl, video_xl.new_cache(64), torch.arange(9), settings))

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)


def test_an_answer_ends_before_a_stop_id(video_xl: VideoXL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_xl, "eos_ids", ())
    with torch.no_grad():
        free = list(generate(video_xl, video_xl.new_cache(64), torch.arange(9), Generation(max_new_tokens=12)))
        stop = free[5]
        monkeypatch.setattr(video_xl, "eos_ids", (stop, 9999))
        stopped = list(generate(video_xl, video_xl.new_cache(64), torch.arange(9), Generation(max_new_tokens=12)))
    assert len(free) == 12
    assert stopped == free[: free.index(stop)]


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """A token per byte."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def pieces(tokenizer: PreTrainedTokenizerFast, ids: list[int], *stop: str) -> list[str]:
    return list(spoken(iter(ids), tokenizer, stop))


def spoken(ids: Iterator[int], tokenizer: PreTrainedTokenizerFast, stop: tuple[str, ...]) -> Iterator[str]:
    """The pieces of text of tokens, which are taken one by one until a stop string ends them."""
    text = AnswerText(tokenizer, stop)
    while not text.is_stopped and (token := next(ids, None)) is not None:
        if piece := text.take(token):
            yield piece
    if piece := text.rest():
        yield piece


def test_a_character_of_several_tokens_is_never_cut(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "né 東京 \N{FACE WITH TEARS OF JOY}!"
    ids = ids_of(tokenizer, text)
    assert len(ids) == len(text.encode())
    assert pieces(tokenizer, ids) == list(text)


def test_bytes_that_are_no_character_do_not_hold_the_rest_back(tokenizer: PreTrainedTokenizerFast) -> None:
    broken = ids_of(tokenizer, "東")[:2]
    streamed = pieces(tokenizer, [*ids_of(tokenizer, "a"), *broken, *ids_of(tokenizer, "bc")])
    assert streamed[0] == "a"
    assert streamed[-1] == "c"
    assert "".join(streamed).replace("\ufffd", "") == "abc"


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("yes END and more", ("END",), "yes "),
        ("yes EN and E", ("END",), "yes EN and E"),
        ("aaab", ("aab",), "a"),
        ("one\n\ntwo", ("###", "\n\n"), "one"),
        ("END", ("END",), ""),
        ("first second", ("second", "st"), "fir"),
        ("東京です", ("で",), "東京"),
    ],
)
def test_a_stop_string_over_several_tokens_ends_the_answer(
    tokenizer: PreTrainedTokenizerFast, text: str, stop: tuple[str, ...], expected: str
) -> None:
    taken: list[int] = []

    def ids() -> Iterator[int]:
        for token in ids_of(tokenizer, text):
            taken.append(token)
            yield token

    streamed = list(spoken(ids(), tokenizer, stop))
    assert "".join(streamed) == expected
    if expected != text:  # and nothing is decoded beyond it
        assert tokenizer.decode(taken).endswith(stop)


def test_pieces_always_make_the_whole_text_up_to_the_first_stop(tokenizer: PreTrainedTokenizerFast) -> None:
    chance = random.Random(0)
    for _ in range(300):
        text = "".join(chance.choices("abé東\N{GRINNING FACE}", k=12))
        stops = tuple("".join(chance.choices("abé東", k=chance.randint(1, 3))) for _ in range(chance.randint(0, 2)))
        streamed = pieces(tokenizer, ids_of(tokenizer, text), *stops)
        ends = [end for end in range(len(text) + 1) for stop in stops if text[:end].endswith(stop)]
        # the stop string that is complete first ends the answer; where two are, the one that begins first
        whole = text[: min(ends)] if ends else text
        cut = min((whole.find(stop) for stop in stops if stop in whole), default=len(whole))
        assert "".join(streamed) == text[:cut]
        assert all(streamed)


def test_special_tokens_leave_no_text(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = [*ids_of(tokenizer, "a"), tokenizer.eos_token_id, *ids_of(tokenizer, "b")]
    assert "".join(pieces(tokenizer, ids)) == "ab"


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_p": math.nan},
        {"top_k": -1},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.nan},
        {"stop": ("",)},
        {"stop": ("END", "")},
        {"stop": "END"},
        {"seed": 2**64},
        {"seed": -(2**63) - 1},
    ],
    ids=str,
)
def test_settings_out_of_their_domain_are_named(wrong: dict) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(SettingsError, match=rf"^{name}={re.escape(repr(value))}[^\n]*$"):
        Generation(**wrong)


@pytest.mark.parametrize(("text", "temperature"), [("0", 0.0), ("0.7", 0.7), ("own", None)])
def test_the_command_line_samples_by_a_number_or_as_the_checkpoint_says(text: str, temperature: float | None) -> None:
    assert GenerationOptions(temperature=text, repetition_penalty=1.1).generation(3) == Generation(
        64, temperature, repetition_penalty=1.1, seed=3
    )


def test_a_temperature_that_is_no_number_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^--temperature 'warm' is not a number: pass 0, 0\.7 or own$"):
        GenerationOptions(temperature="warm").generation(0)
