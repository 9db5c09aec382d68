"""How large frames are: a default that fits hours, the user's limits, the checkpoint's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from videox2l import VideoX2L
from videox2l.cli import main
from videox2l.errors import SettingsError
from videox2l.models.base import FrameLimits
from videox2l.models.load import load_model
from videox2l.testing import tiny_models
from videox2l.testing.conformance import EVERY_KV, QUESTION, answer, index_frames, noise
from videox2l.testing.reference import Reference
from videox2l.types import ChunkPlace, Frames, VideoOutline

HD, HOUR = (1080, 1920), 3600
RESIZING = ["qwen2_5_vl", "qwen2_vl", "qwen3_vl"]
FIXED = sorted({*tiny_models.FAMILIES} - {*RESIZING})


def with_sizes(family: str, directory: Path, least: int, most: int) -> Path:
    """A tiny checkpoint whose processor has these limits of its own, in pixels."""
    tiny_models.build(family, directory)
    file = directory / "processor_config.json"
    config = json.loads(file.read_text())
    config["video_processor"]["size"] = {"shortest_edge": least, "longest_edge": most}
    file.write_text(json.dumps(config))
    return directory


def published_size(family: str, directory: Path) -> Path:
    """A tiny checkpoint with the limits of the published ones: of a frame, or with Qwen3-VL of a video."""
    return with_sizes(family, directory, *((4096, 25165824) if family == "qwen3_vl" else (3136, 12845056)))


def tokens_an_hour(directory: Path, max_pixels: int | None = None) -> int:
    return round(load_model(directory, device="cpu", max_pixels=max_pixels).tokens_per_frame(*HD, HOUR) * HOUR)


def test_an_hour_of_1080p_fits_by_default(tmp_path):
    directory = published_size("qwen2_5_vl", tmp_path)
    assert tokens_an_hour(directory, max_pixels=0) == 2691 * 1800  # the checkpoint's own limit
    assert tokens_an_hour(directory) == 12 * 21 * 1800
    assert tokens_an_hour(directory, max_pixels=128 * 28 * 28) <= 128 * 1800
    assert tokens_an_hour(directory, max_pixels=600 * 28 * 28) > 500 * 1800


def test_a_limit_of_the_whole_video_gives_way_to_one_of_each_frame(tmp_path):
    """Qwen3-VL's own limit leaves each frame less the longer the video is."""
    directory = published_size("qwen3_vl", tmp_path)
    model = load_model(directory, device="cpu")
    assert model.tokens_per_frame(*HD, 16) == 12 * 21 / 2  # the house's default
    assert model.tokens_per_frame(*HD, HOUR) < 16  # the checkpoint's own, which is less
    limited = load_model(directory, device="cpu", max_pixels=200 * 32 * 32)
    assert limited.tokens_per_frame(*HD, 16) == limited.tokens_per_frame(*HD, HOUR) > 70


@pytest.mark.parametrize("family", RESIZING)
def test_small_frames_are_made_larger(tmp_path, family):
    side = 32 if family == "qwen3_vl" else 28
    directory = published_size(family, tmp_path)
    model = load_model(directory, device="cpu", min_pixels=100 * side * side)
    assert 100 / 2 <= model.tokens_per_frame(32, 32, 8) < 130 / 2


@pytest.mark.parametrize("family", sorted(tiny_models.FAMILIES))
@torch.no_grad()
def test_tokens_per_frame_are_those_of_a_chunk(tmp_path, family):
    model, pixels = load_model(tiny_models.build(family, tmp_path), device="cpu"), noise(4)
    place = ChunkPlace(VideoOutline(8, 8.0), 0, 0, is_last=False)
    tokens = model.visual_tokens(Frames(pixels, torch.arange(4).double()), place)
    height, width = pixels.shape[2:]
    assert len(tokens.visual) == 4 * model.tokens_per_frame(height, width, 8)


@pytest.mark.parametrize("family", RESIZING)
def test_with_the_same_limit_the_model_is_itself(tmp_path, family):
    """The processor's own limit, set to ours."""
    pixels = noise(4, 160, 240)
    side = 32 if family == "qwen3_vl" else 28
    limit = 12 * side**2
    own = limit * len(pixels) if family == "qwen3_vl" else limit
    limited = with_sizes(family, tmp_path / "limited", side**2, own)
    published = Reference(limited, pixels, QUESTION, tiny_models.published_prompt(family))
    model = load_model(published_size(family, tmp_path / "published"), device="cpu", max_pixels=limit)
    index = index_frames(VideoX2L(model, EVERY_KV, chunk_frames=2), pixels)
    torch.testing.assert_close(answer(model, index)[0], published.logits(), atol=1e-4, rtol=0)


def test_limits_are_part_of_what_an_index_was_made_with(tmp_path):
    directory = tiny_models.build("qwen2_5_vl", tmp_path)
    limits = [(None, None), (0, None), (9000, None), (None, 9000), (9000, 784)]
    fingerprints = [
        load_model(directory, device="cpu", max_pixels=most, min_pixels=least).fingerprint for most, least in limits
    ]
    assert len(set(fingerprints)) == len(limits)
    assert load_model(directory, device="cpu").fingerprint == fingerprints[0]


@pytest.mark.parametrize("family", FIXED)
def test_frames_of_a_fixed_size_have_no_limits(tmp_path, family):
    with pytest.raises(SettingsError, match=rf"^{family} models take frames of a fixed size: leave the limit"):
        load_model(tiny_models.build(family, tmp_path), device="cpu", max_pixels=100000)


def test_nano_has_no_limits_on_the_command_line(monkeypatch, capsys, made_clip):
    monkeypatch.setattr(sys, "argv", ["videox2l", "index", str(made_clip), "--max-pixels", "100000", "--model", "nano"])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert "take frames of a fixed size" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [{"max_pixels": -1}, {"min_pixels": 0}, {"max_pixels": 10, "min_pixels": 20}], ids=str
)
def test_limits_that_no_frame_can_keep_are_refused(wrong):
    with pytest.raises(SettingsError, match=r"^(max|min)_pixels=[^\n]*: [^\n]*$"):
        FrameLimits(**wrong)


def test_frames_of_a_fixed_size_cost_the_same_whatever_their_source(video_xl):
    assert video_xl.tokens_per_frame(*HD, HOUR) == video_xl.tokens_per_frame(72, 88, 1) == 144
