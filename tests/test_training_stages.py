"""The training script runs from nothing to a checkpoint that answers, and goes on where it was stopped."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from training import train_nano
from training.language import nano_config
from training.lessons import ALL, DENSE, Lesson
from videox2l.models.video_xl.conv_tower import ConvTowerConfig

BRIEF = replace(
    train_nano.PRESETS["cpu"],
    bank_chunks=200,
    tower=ConvTowerConfig(channels=(8, 16, 16, 32)),
    tower_minutes=0.05,
    language=nano_config(hidden=64, layers=3, heads=4, kv_heads=2, mlp=96),
    lessons=[Lesson("one-chunk", 0.05, (1,), DENSE, (1e-3, 1e-3)), Lesson("more", 0.05, (1, 3), ALL, (1e-3, 0.0))],
    step_chunks=8,
    contrastive_minutes=0.05,
)


@pytest.mark.slow
def test_all_stages_run_and_a_second_run_finds_them_done(tmp_path, monkeypatch):
    monkeypatch.setitem(train_nano.PRESETS, "brief", BRIEF)
    command = ["train_nano", "--out", str(tmp_path), "--export", str(tmp_path / "nano"), "--preset", "brief"]
    monkeypatch.setattr(sys, "argv", command)
    train_nano.main()
    names = {file.name for file in (tmp_path / "nano").iterdir()}
    assert {"config.json", "vision_config.json", "model.safetensors", "tokenizer.json", "contrastive"} <= names
    curve = [json.loads(line) for line in (tmp_path / "language.jsonl").read_text().splitlines()]
    assert {"lesson", "step", "s", "loss"} <= set(curve[-1])
    done = torch.load(tmp_path / "language-latest.pt", weights_only=True)
    assert done["progress"][0] == len(BRIEF.lessons)
    train_nano.main()
    again = torch.load(tmp_path / "language-latest.pt", weights_only=True)
    assert again["progress"] == done["progress"]
    assert all(torch.equal(value, again["model"][name]) for name, value in done["model"].items())
