"""The training script runs from nothing to a checkpoint that answers, and goes on where it was stopped."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from training import train_nano, train_nano_qwen
from training.language import nano_config
from training.lessons import ALL, DENSE
from training.qwen.language import text_config
from training.qwen.tower import vision_config
from training.trainer import Lesson
from videox2l import VideoX2L
from videox2l.evaluation.needles import NeedleEvaluation, evaluate_needles
from videox2l.evaluation.settings import Setting
from videox2l.models.video_xl.conv_tower import ConvTowerConfig
from videox2l.synthesis.plan import NeedleSettings
from videox2l.synthesis.writer import VideoFormat

BRIEF = replace(
    train_nano.PRESETS["cpu"],
    bank_chunks=200,
    tower=ConvTowerConfig(channels=(8, 16, 16, 32)),
    tower_steps=5,
    language=nano_config(hidden=64, layers=3, heads=4, kv_heads=2, mlp=96),
    lessons=[
        Lesson("one-chunk", 30, (1,), 8, DENSE, (1e-3, 1e-3)),
        Lesson("more", 30, (1, 3), 8, ALL, (1e-3, 0.0)),
    ],
    contrastive_steps=5,
)

BRIEF_QWEN = replace(
    train_nano_qwen.PRESETS["cpu"],
    bank_chunks=(200, 100, 100),
    vision=vision_config(64, depth=3, width=48, heads=2, mlp=64),
    tower_steps=10,
    language=text_config(64, layers=3, heads=4, mlp=96),
    lessons=BRIEF.lessons,
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


@pytest.mark.slow
def test_nano_qwen_goes_from_nothing_to_a_checkpoint_that_answers(tmp_path, monkeypatch):
    monkeypatch.setitem(train_nano_qwen.PRESETS, "brief", BRIEF_QWEN)
    command = ["train_nano_qwen", "--out", str(tmp_path), "--export", str(tmp_path / "made"), "--preset", "brief"]
    monkeypatch.setattr(sys, "argv", command)
    train_nano_qwen.main()
    curve = [json.loads(line) for line in (tmp_path / "language.jsonl").read_text().splitlines()]
    assert curve[-1]["step"] == 50 and {"lesson", "s", "loss"} <= set(curve[-1])
    done = torch.load(tmp_path / "language-latest.pt", weights_only=True)
    assert done["progress"][:3] == (2, 0, 60)
    engine = VideoX2L.from_pretrained(tmp_path / "made", device="cpu")
    result = evaluate_needles(
        engine, (Setting.of(engine),), NeedleEvaluation(1, NeedleSettings(minutes=0.5, format=VideoFormat(fps=2)))
    )
    assert len(result.settings[0].outcomes) >= 8
    train_nano_qwen.main()
    again = torch.load(tmp_path / "language-latest.pt", weights_only=True)
    assert all(torch.equal(value, again["model"][name]) for name, value in done["model"].items())
