"""What is refused, and when: one sentence, exit code 2, before anything slow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Run
from videos import write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 60, fps=10)


EARLY = {
    "no video": (["absent.mp4", "What?"], "absent.mp4 does not exist"),
    "no question": (["{clip}"], "there is no question"),
    "an empty question": (["{clip}", " "], "the question is empty"),
    "a dash": (["{clip}", "-"], "pass --questions - to read questions from standard input"),
    "no file of questions": (["{clip}", "--questions", "absent.txt"], "absent.txt can't be read"),
    "a picture of unknown kind": (["{clip}", "What?", "--plot", "timeline.xyz"], "timeline.xyz"),
    "a picture without a kind": (["{clip}", "What?", "--plot", "timeline"], "end the name in .png"),
    "a picture nowhere": (["{clip}", "What?", "--plot", "absent/t.png"], "the folder absent does not exist"),
    "a range past the end": (["{clip}", "What?", "--start", "1:00"], "past the video's end"),
    "an unknown oracle": (["{clip}", "What?", "--oracle", "psychic"], "oracle 'psychic' is unknown"),
    "an unknown part of a fusion": (["{clip}", "What?", "--oracle", "qk+psychic"], "oracle 'psychic' is unknown"),
    "an unknown selector": (["{clip}", "What?", "--selector", "best"], "selector 'best' is unknown"),
    "an unknown compressor": (["{clip}", "What?", "--compressor", "zip"], "compressor 'zip' is unknown"),
    "an unknown context": (["{clip}", "What?", "--context", "some"], "context 'some' is unknown"),
    "unknown passes": (["{clip}", "What?", "--passes", "three"], "passes 'three'"),
    "levels out of order": (["{clip}", "What?", "--levels", "32,2"], "not in increasing order"),
    "no chunk frames": (["{clip}", "What?", "--chunk-frames", "0"], "write for example 10 or 2,10"),
    "smoothing nan": (["{clip}", "What?", "--smoothing", "nan"], "smoothing=nan"),
    "negative k": (["{clip}", "What?", "--k", "-1"], "k=-1"),
    "temperature nan": (["{clip}", "What?", "--temperature", "nan"], "temperature=nan"),
    "unknown dtype": (["{clip}", "What?", "--dtype", "int3"], "dtype 'int3'"),
    "an unknown encoder": (["{clip}", "What?", "--encoder", "no/such-encoder"], "no/such-encoder"),
    "an unknown device": (["{clip}", "What?", "--device", "abacus"], "device 'abacus'"),
    "a store that can't be": (["{clip}", "What?", "--store", "/proc/x"], "can't make the store /proc/x"),
    "negative pixels": (["{clip}", "What?", "--max-pixels", "-1"], "max_pixels=-1"),
    "an empty store": (["{clip}", "What?", "--store", ""], "the store is an empty text"),
    "an empty video": (["", "What?"], "the video is an empty text"),
    "an empty picture": (["{clip}", "What?", "--plot", ""], "--plot is an empty text"),
    "a picture that moves": (["{clip}", "What?", "--plot", "a.gif"], "end the name in .png, .pdf or .svg"),
    "an address": (["https://example.com/a.mp4", "What?"], "https://example.com/a.mp4 is an address on the web"),
    "an end before the start": (["{clip}", "What?", "--start", "99:00"], "--start 99:00 is past the video's end"),
    "a seed beyond 64 bits": (["{clip}", "What?", "--seed", "9" * 23], "seed=999"),
    "both kinds of edges": (["{clip}", "What?", "--fine-edges", "--no-fine-edges"], "contradict each other"),
}


@pytest.mark.parametrize("arguments, said", EARLY.values(), ids=EARLY.keys())
def test_what_can_be_refused_early_is_refused_before_the_model_is_looked_at(
    run: Run, clip: Path, arguments: list[str], said: str
) -> None:
    """The model does not exist: a mistake that is found after it is looked for would not be the one that is said."""
    arguments = [argument.format(clip=clip) for argument in arguments]
    code, out, err = run("ask", *arguments, "--model", "no/such-model")
    assert code == 2
    assert said in err
    assert "no/such-model" not in err
    assert len(err.strip().splitlines()) == 1
    assert not out


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["ask", "clip.mp4", "What?", "--bogus"], "error: no such option"),
        (["ask"], "error: missing argument 'VIDEO'"),
        (["bogus"], "error: no such command 'bogus'"),
        (["ask", "clip.mp4", "What?", "--k", "many"], "error: invalid value for '--k'"),
        (
            ["ask", "clip.mp4", "What?", "--k", "nan"],
            "error: invalid value for '--k': it should be a valid integer: see",
        ),
    ],
)
def test_a_command_line_that_cant_be_read_is_one_sentence_and_code_2(run: Run, arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert err.startswith(said)
    assert " -h`" in err
    assert len(err.strip().splitlines()) == 1
    assert not out


def test_a_video_longer_than_a_day_is_refused_before_it_is_planned(run: Run, tmp_path: Path) -> None:
    code, _, err = run("synth", "--out", tmp_path, "--minutes", "1e9")
    assert code == 2
    assert err == "error: minutes=1e+09 is longer than a day: pass 1440 or less\n"


@pytest.mark.parametrize(
    "words", [["find", "{clip}", "heart", "--clips", ""], ["ask", "{clip}", "Who?", "--model", ""]]
)
def test_an_empty_path_or_name_is_not_the_current_directory(run: Run, clip: Path, words: list[str]) -> None:
    code, out, err = run(*(word.format(clip=clip) for word in words))
    assert code == 2
    assert " is an empty text: pass " in err
    assert not out


@pytest.mark.parametrize("words", [["ask", "absent.mp4", "Who?"], ["index"], ["find", "absent.mp4", " "]], ids=" ".join)
def test_a_command_that_fails_says_so_in_json_too(run: Run, words: list[str]) -> None:
    code, out, err = run(*words, "--json")
    assert code == 2
    assert err == f"error: {json.loads(out)['error']}\n"


def test_an_index_in_ram_is_refused_as_nothing_would_be_kept(run: Run, clip: Path) -> None:
    code, _, err = run("index", clip, "--store", "ram")
    assert code == 2
    assert "--store ram keeps nothing" in err
