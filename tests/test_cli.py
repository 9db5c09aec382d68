"""The command line as a user meets it: real files, real arguments, what is printed and the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import Run
from safetensors.torch import load_file, save_file
from videos import write_video

from videox2l.models.video_xl.adapter import VideoXL
from videox2l.types import ChunkPlace, Frames, VideoTokens


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 60, fps=10)


SMALL = ("--chunk-frames", 2, "--max-new-tokens", 4)


def test_ask_json_prints_one_object_with_the_promised_fields(run: Run, clip: Path) -> None:
    code, out, _ = run("ask", clip, "What is shown?", *SMALL, "--json")
    answer = json.loads(out)
    assert code == 0
    assert {"answer", "chunks", "cache_tokens", "full_cache_tokens", "timings_s", "model", "index_reused"} <= set(
        answer
    )
    named = {"index", "start_s", "end_s", "score", "level", "ratio", "is_chosen", "frames_s"}
    assert [set(chunk) for chunk in answer["chunks"]] == [named] * 3
    assert [(chunk["start_s"], chunk["end_s"]) for chunk in answer["chunks"]] == [(0, 2), (2, 4), (4, 6)]
    assert answer["cache_tokens"] < answer["full_cache_tokens"] == 44 + 6 * 144  # prompt bytes, and 144 tokens a frame
    assert {"relevance", "load", "first_token"} <= set(answer["timings_s"])


def test_a_second_question_reuses_the_index(run: Run, clip: Path) -> None:
    _, first, _ = run("ask", clip, "What is shown?", *SMALL, "--json")
    _, second, _ = run("ask", clip, "Who is there?", *SMALL, "--json")
    assert not json.loads(first)["index_reused"]
    assert json.loads(second)["index_reused"]


def test_another_process_reuses_the_index_and_answers_alike(
    run: Run, clip: Path, checkpoint: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    arguments = ["ask", clip, "What is shown?", *SMALL, "--store", store, "--model", checkpoint, "--json"]
    here = json.loads(run(*arguments)[1])
    command = [sys.executable, "-c", "from videox2l.cli import main; main()", *map(str, arguments)]
    there = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert there["index_reused"]
    assert there["answer"] == here["answer"]


def test_index_verbose_prints_the_tokens_of_both_ways_of_making_the_levels(run: Run, clip: Path) -> None:
    code, out, _ = run("index", clip, "--chunk-frames", 2, "-v")
    assert code == 0
    assert "the decoder ran 1323 tokens in a single pass; in two passes it would run 2457, 1.86 times as many" in out


def test_plot_writes_a_picture(run: Run, clip: Path, tmp_path: Path) -> None:
    code, _, _ = run("ask", clip, "What is shown?", *SMALL, "--plot", tmp_path / "timeline.png")
    assert code == 0
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_interrupted_indexing_keeps_finished_chunks_and_goes_on_from_them(
    run: Run, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = VideoXL.visual_tokens
    chunks: list[Frames] = []

    def interrupt_third(self: VideoXL, frames: Frames, place: ChunkPlace) -> VideoTokens:
        chunks.append(frames)
        if len(chunks) == 3:
            raise KeyboardInterrupt
        return real(self, frames, place)

    monkeypatch.setattr(VideoXL, "visual_tokens", interrupt_third)
    code, _, err = run("index", clip, "--chunk-frames", 2)
    assert code == 130
    assert "the same command continues" in err
    code, out, _ = run("index", clip, "--chunk-frames", 2, "--json")
    assert code == 0
    assert json.loads(out)["chunks"] == 3
    assert len(chunks) == 4  # two done, one interrupted, one made by the second run


def levels(out: str) -> list[int]:
    return [chunk["level"] for chunk in json.loads(out)["chunks"]]


ONE_FRAME = ("--chunk-frames", 1, "--max-new-tokens", 2)


@pytest.mark.parametrize("selector", [(), ("--selector", "manual")])
def test_named_moments_are_reloaded_in_full_detail(run: Run, clip: Path, selector: tuple) -> None:
    asked = ("ask", clip, "What is shown?", *ONE_FRAME, *selector)
    code, out, _ = run(*asked, "--moments", "2,0:04-0:05", "--json")
    assert code == 0
    assert levels(out) == [2, 32, 2, 32, 2, 2]
    assert {chunk["score"] for chunk in json.loads(out)["chunks"]} == {None}
    _, out, _ = run(*asked, "--moments", "2", "--no-fine-edges", "--json")
    assert levels(out) == [32, 32, 2, 32, 32, 32]
    code, out, err = run(*asked, "--moments", "2", "-v")  # what is printed for a person
    assert code == 0
    assert "from: 0:02-0:03" in err
    assert "0:00-0:01 2x" in " ".join(err.split())


def test_evenly_spaced_chunks_and_one_level_need_no_scores(run: Run, clip: Path) -> None:
    asked = ("ask", clip, "What is shown?", *ONE_FRAME, "--json")
    _, out, _ = run(*asked, "--selector", "even", "--k", 2)
    assert levels(out) == [2, 2, 32, 2, 32, 2]
    _, out, _ = run(*asked, "--selector", "one_level")
    assert levels(out) == [32] * 6
    _, out, _ = run(*asked, "--selector", "one_level", "--fine-edges")
    assert levels(out) == [2, 32, 32, 32, 32, 2]


def test_a_budget_in_tokens_or_memory_is_kept_over_three_levels(run: Run, clip: Path) -> None:
    asked = ("ask", clip, "What is shown?", *ONE_FRAME, "--levels", "2,8,32", "--json")
    _, out, _ = run(*asked, "--selector", "adaptive")
    enough = json.loads(out)["cache_tokens"]
    code, out, _ = run(*asked, "--cache-tokens", enough - 1)
    assert code == 0
    assert enough - 72 < json.loads(out)["cache_tokens"] < enough
    assert "no room" in " ".join(json.loads(out)["notes"])
    code, out, _ = run(*asked, "--cache-memory", "1MB")
    assert code == 0
    assert json.loads(out)["cache_tokens"] == enough


def test_a_second_look_reads_more_and_says_what_the_first_one_took(run: Run, clip: Path) -> None:
    """A random model is always unsure."""
    asked = ("ask", clip, "What is shown?", *ONE_FRAME, "--k", 1)
    _, out, _ = run(*asked, "--json")
    once = json.loads(out)
    assert once["first_look"] is None
    code, out, _ = run(*asked, "--json", "--second-look")
    twice = json.loads(out)
    assert code == 0
    assert twice["first_look"]["cache_tokens"] == once["cache_tokens"] < twice["cache_tokens"]
    assert 0 <= twice["first_look"]["margin"] < 0.5
    assert 0 < twice["first_look"]["seconds"] <= sum(twice["timings_s"].values())
    _, _, err = run(*asked, "--second-look")
    assert f"second look: the first one, at {once['cache_tokens']} tokens" in err


def test_more_seeds_and_smoothing_change_the_scores_of_the_oracles_that_have_them(run: Run, clip: Path) -> None:
    def scores(*options: object) -> list[float]:
        _, out, _ = run("ask", clip, "What is shown?", *ONE_FRAME, "--json", *options)
        return [chunk["score"] for chunk in json.loads(out)["chunks"]]

    random = scores("--oracle", "random")
    assert random != scores("--oracle", "random", "--seed", 1)
    smooth = scores("--oracle", "random", "--smoothing", 2)
    assert max(smooth) - min(smooth) < max(random) - min(random)
    assert scores() == scores("--seed", 1)


def test_more_chunks_asked_than_there_are_reloads_all(run: Run, clip: Path) -> None:
    _, out, _ = run("ask", clip, "What is shown?", *SMALL, "--k", 99, "--json")
    assert {chunk["level"] for chunk in json.loads(out)["chunks"]} == {2}


BAD_SETTINGS = {
    "unknown oracle": (["--oracle", "psychic"], "oracle 'psychic' is unknown"),
    "unknown model": (["--model", "no/such-model"], "model 'no/such-model'"),
    "levels out of order": (["--levels", "32,2"], "not in increasing order"),
    "levels that are no numbers": (["--levels", "fine,coarse"], "--levels 'fine,coarse'"),
    "a level above a chunk's tokens": (["--levels", "2,400", "--chunk-frames", 2], "level 400 is not possible"),
    "no chunk frames": (["--chunk-frames", 0], "--chunk-frames '0'"),
    "negative k": (["--k", -1], "k=-1"),
    "unknown passes": (["--passes", "three"], "passes 'three'"),
    "unknown positions": (["--compressor", "pool", "--positions", "wild"], "positions 'wild'"),
    "positions of summary tokens": (["--positions", "original"], "no setting 'positions'"),
    "unknown dtype": (["--dtype", "int3"], "dtype 'int3'"),
    "unknown device": (["--device", "abacus"], "device 'abacus'"),
    "frames and fps": (["--frames", 5, "--fps", 2], "frames=5 and fps=2"),
    "a time that is none": (["--start", "noon"], "'noon' is not a time"),
    "a range past the end": (["--start", "99s"], "99"),
    "contrastive without encoder": (["--oracle", "contrastive"], "needs a dual encoder"),
    "unknown selector": (["--selector", "best"], "selector 'best' is unknown: pass one of adaptive, even"),
    "manual without moments": (["--selector", "manual"], "needs moments"),
    "no moments": (["--moments", ""], "needs moments"),
    "a moment past the end": (["--moments", "77"], "there is no chunk 77"),
    "a budget that is no size": (["--cache-memory", "plenty"], "--cache-memory 'plenty' is not a size"),
    "a budget of no bytes": (["--cache-memory", "0GB"], "--cache-memory '0GB' is not a size"),
    "a budget below the prompt": (
        ["--cache-tokens", 6],
        "44 of them for the prompt",
    ),
    "a second look without scores": (["--moments", "1", "--second-look"], "--second-look means nothing to --moments"),
    "no tokens": (["--cache-tokens", 0], "cache_tokens=0"),
    "a budget below the coarsest level": (["--cache-tokens", 60, "--chunk-frames", 2], "cache_tokens=60 is too small"),
    "a level that nothing reads": (["--levels", "2,8,32"], "nothing would read level 8 of 2,8,32"),
    "moments and k": (["--moments", "1", "--k", 2], "--k 2 means nothing to --moments"),
    "moments and a budget": (
        ["--moments", "1", "--cache-tokens", 400],
        "--cache-tokens 400 means nothing to --moments",
    ),
    "moments and another selector": (
        ["--moments", "1", "--selector", "even"],
        "--moments 1 means nothing to --selector even",
    ),
    "a budget and another selector": (
        ["--cache-tokens", 400, "--selector", "top_k"],
        "--cache-tokens 400 means nothing to --selector top_k",
    ),
    "a budget and k": (["--cache-tokens", 400, "--k", 2], "--k 2 means nothing to --cache-tokens"),
    "an oracle for no one": (["--moments", "1", "--oracle", "probe"], "--oracle probe means nothing to --moments"),
    "smoothing of nothing": (
        ["--selector", "one_level", "--smoothing", 1],
        "--smoothing 1.0 means nothing to --selector one_level",
    ),
    "smoothing nan": (["--smoothing", "nan"], "smoothing=nan is not a width in chunks"),
    "smoothing inf": (["--smoothing", "inf"], "smoothing=inf is not a width in chunks"),
    "negative smoothing": (["--smoothing", -1], "smoothing=-1.0 is not a width in chunks"),
    "temperature nan": (["--temperature", "nan"], "temperature=nan is not a temperature"),
    "no room for an answer": (["--max-new-tokens", 0], "max_new_tokens=0"),
    "a picture of unknown kind": (["--plot", "timeline.xyz"], "timeline.xyz"),
}


@pytest.mark.parametrize("options, said", BAD_SETTINGS.values(), ids=BAD_SETTINGS.keys())
def test_a_bad_setting_ends_with_one_sentence_and_code_2(run: Run, clip: Path, options: list, said: str) -> None:
    code, out, err = run("ask", clip, "What is shown?", *options)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert not out or "plot" in options[0]


def test_bad_videos_and_questions_end_with_one_sentence_and_code_2(run: Run, clip: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    for video in (tmp_path / "absent.mp4", text, tmp_path / "empty.mp4", tmp_path):
        code, _, err = run("ask", video, "What is shown?", *SMALL)
        assert code == 2, video
        assert err.startswith("error: "), err
        assert len(err.strip().splitlines()) == 1
    for question in ("  ", "long " * 9000):
        code, _, err = run("ask", clip, question, *SMALL)
        assert code == 2
        assert "question" in err


def test_a_checkpoint_with_missing_parameters_names_them_and_their_count(
    run: Run, clip: Path, checkpoint: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in checkpoint.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(checkpoint / "model.safetensors")
    del weights["model.norm.weight"], weights["model.layers.1.self_attn.beacon_k_proj.bias"]
    save_file(weights, broken / "model.safetensors")
    code, _, err = run("ask", clip, "What is shown?", "--model", broken)
    assert code == 2
    assert "lacks 2 of" in err
    assert "model.layers.1.self_attn.beacon_k_proj.bias, model.norm.weight" in err


def test_an_unwritable_store_is_said_before_the_video_is_decoded(run: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = run("index", clip, "--store", tmp_path / "file")
    assert code == 2
    assert "can't make the store" in err


def test_a_compressor_is_chosen_by_name(run: Run, clip: Path) -> None:
    code, out, _ = run("ask", clip, "What?", *SMALL, "--compressor", "keydiff", "--context", "none", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["cache_tokens"] < answer["full_cache_tokens"]
    for wrong, message in (
        (("--compressor", "magic"), "compressor 'magic' is unknown"),
        (("--compressor", "pool", "--passes", "two_pass"), "compressor pool has no setting 'passes'"),
        (("--compressor", "pool", "--context", "some"), "context 'some' is unknown"),
    ):
        code, _, err = run("ask", clip, "What?", *SMALL, *wrong)
        assert code == 2
        assert message in err
