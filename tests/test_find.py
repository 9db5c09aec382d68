"""`videox2l find`: moments to the second, pictures of them, and clips."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from checkpoints import save_dual_encoder
from command import Run
from PIL import Image
from videos import write_video


@pytest.fixture(scope="module")
def needle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, float]:
    """A needle video, what to look for in it, and when it is shown."""
    from videox2l.synthesis.dataset import synthesise
    from videox2l.synthesis.plan import NeedleSettings

    directory = tmp_path_factory.mktemp("needles")
    synthesise(directory, 1, NeedleSettings(minutes=1.0))
    for line in (directory / "questions.jsonl").read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        if row["type"] == "attribute":  # "What digit is on the orange cross?"
            shape = re.search(r"\bthe (\w+ \w+)", row["question"].lower())
            assert shape
            return directory / row["video"], shape[1], row["needle_time"][0]
    raise AssertionError("no question about a single needle")


def test_the_bundled_model_finds_a_needle_to_the_second(run: Run, needle: tuple[Path, str, float]) -> None:
    video, text, needle_s = needle
    code, out, _ = run("find", video, text, "--model", "nano", "--k", 1)
    assert code == 0
    found = re.fullmatch(r" 1 +0:(\d\d)  \(0:\d\d-0:\d\d\)  score 0\.\d+  \d+% sure\n", out)
    assert found
    assert 0 <= int(found[1]) - needle_s < 4


def test_json_has_the_moments_and_the_clips_hold_them(
    run: Run, needle: tuple[Path, str, float], tmp_path: Path
) -> None:
    video, text, needle_s = needle
    options = ("--model", "nano", "--k", 2, "--clips", tmp_path / "a" / "clips", "--plot", tmp_path / "sheet.png")
    code, out, err = run("find", video, text, *options, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["text"], found["video"], found["k"]) == (text, video.name, 2)
    best = found["moments"][0]
    assert set(best) == {"start_s", "end_s", "peak_s", "score", "confidence", "subtitle"}
    assert best["start_s"] <= best["peak_s"] < best["end_s"]
    assert abs(best["start_s"] - needle_s) < 4
    assert len(found["clips"]) == len(found["moments"])
    for moment, clip in zip(found["moments"], found["clips"], strict=True):
        assert 0 <= moment["start_s"] - clip["start_s"] <= 0.5
        with av.open(clip["file"]) as container:
            assert container.duration / av.time_base == pytest.approx(clip["end_s"] - clip["start_s"], abs=0.2)
        assert f"saved {clip['file']}" in err
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 400


def test_an_encoder_alone_needs_no_model(run: Run, made_clip: Path, tmp_path: Path) -> None:
    encoder = save_dual_encoder("clip", tmp_path)
    code, out, _ = run("find", made_clip, "a bicycle", "--encoder", encoder, "--model", "no/such-model", "--json")
    assert code == 0
    assert "moments" in json.loads(out)


def test_what_is_found_is_printed_even_if_it_cant_be_saved(
    run: Run, needle: tuple[Path, str, float], tmp_path: Path
) -> None:
    video, text, _ = needle
    asked = ("find", video, text, "--model", "nano", "--k", 1, "--clips", tmp_path, "--json")
    saved = Path(json.loads(run(*asked)[1])["clips"][0]["file"])
    saved.unlink()
    saved.mkdir()
    code, out, err = run(*asked)
    assert code == 2
    assert len(json.loads(out)["moments"]) == 1
    assert err.startswith("error: can't write ")


def test_nothing_found_is_said(run: Run, tmp_path: Path) -> None:
    still = write_video(tmp_path / "still.mp4", (np.full((64, 64, 3), 90, dtype=np.uint8) for _ in range(40)), fps=4)
    files = ("--plot", tmp_path / "sheet.png", "--clips", tmp_path / "clips")
    code, out, err = run("find", still, "orange heart", "--model", "nano", *files)
    assert code == 0
    assert out == "no moment stands out\n"
    assert err.endswith("nothing to save\n")
    assert not (tmp_path / "clips").exists()
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    "options, said",
    [
        ([" "], "there is nothing to look for"),
        (["heart", "--k", 0], "--k 0 is not a number of moments"),
        (["heart", "--plot", "sheet.xyz"], "can't save a picture as sheet.xyz"),
        (["heart", "--clips", __file__], "is not a folder"),
        (["heart", "--encoder", "no/such-encoder"], "model 'no/such-encoder'"),
        (["heart", "--dtype", "int3", "--encoder", "no/such-encoder"], "dtype 'int3'"),
        (["heart"], "brings no encoder to search with: pass --encoder"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(run: Run, made_clip: Path, options: list, said: str) -> None:
    code, out, err = run("find", made_clip, *options)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not out
