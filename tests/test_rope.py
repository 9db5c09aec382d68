"""Rotation is a function of positions alone, whatever a checkpoint's RoPE; each has the context it was trained for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from videox2l import VideoX2L
from videox2l.models.load import load_model
from videox2l.testing import tiny_models
from videox2l.testing.conformance import EVERY_KV, QUESTION, Subject, answer, assert_identity, index_frames, noise
from videox2l.testing.reference import Reference

DYNAMIC = {"rope_parameters": None, "rope_theta": 1e4, "rope_scaling": {"type": "dynamic", "factor": 2.0}}


def edit_config(directory: Path, **text: Any) -> Path:
    """Change values of a checkpoint's text_config; None takes one out."""
    file = directory / "config.json"
    config = json.loads(file.read_text())
    config["text_config"] = {key: value for key, value in (config["text_config"] | text).items() if value is not None}
    file.write_text(json.dumps(config))
    return directory


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    """InternVL3 as it is converted: dynamic RoPE, factor 2."""
    return edit_config(tiny_models.build("internvl", tmp_path), max_position_embeddings=256, **DYNAMIC)


def test_dynamic_rope_is_the_models_own_below_its_length(dynamic):
    assert load_model(dynamic, device="cpu").max_positions == 256
    assert_identity(Subject(dynamic), noise(6), 4)


def test_a_large_position_changes_no_later_rotation(dynamic):
    model = load_model(dynamic, device="cpu")
    states, near = torch.randn(2, 5, model.kv_shape.head_dim), torch.arange(5)
    before = model.rotate(states, near)
    far = model.rotate(states, near + 10 * model.max_positions)
    assert torch.equal(model.rotate(states, near), before)
    # and default RoPE goes on: a rotation by a distance, from wherever
    ratio = [torch.einsum("hnd,hmd->hnm", rotated, rotated) for rotated in (before, far)]
    torch.testing.assert_close(ratio[0], ratio[1], atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("rope", "positions"),
    [
        ({"rope_type": "default"}, 256),
        ({"rope_type": "linear", "factor": 2.0}, 512),
        ({"rope_type": "dynamic", "factor": 2.0}, 256),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}, 256),
        ({"rope_type": "yarn", "factor": 4.0}, 1024),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
            256,
        ),
    ],
    ids=lambda value: value["rope_type"] if isinstance(value, dict) else str(value),
)
def test_a_models_context_is_the_one_its_rope_was_trained_for(tmp_path, rope, positions):
    directory = tiny_models.build("internvl", tmp_path)
    edit_config(directory, max_position_embeddings=256, rope_parameters=rope | {"rope_theta": 1e4})
    model, pixels = load_model(directory, device="cpu"), noise(4)
    assert model.max_positions == positions
    logits, _ = answer(model, index_frames(VideoX2L(model, EVERY_KV, chunk_frames=2), pixels))
    torch.testing.assert_close(logits, Reference(directory, pixels, QUESTION).logits(), atol=1e-4, rtol=0)
