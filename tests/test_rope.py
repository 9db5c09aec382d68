"""Rotation is a function of positions alone, whatever a checkpoint's RoPE; each has the context it was trained for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from published import edit_config, noise, our_logits, processor_inputs, published_logits

from videox2l.models.load import load_model
from videox2l.testing import tiny_models

DYNAMIC = {"rope_parameters": None, "rope_theta": 1e4, "rope_scaling": {"type": "dynamic", "factor": 2.0}}


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    """InternVL3 as it is converted: dynamic RoPE, factor 2."""
    return edit_config(tiny_models.build("internvl", tmp_path), max_position_embeddings=256, **DYNAMIC)


def test_dynamic_rope_is_the_models_own_below_its_length(dynamic):
    model, pixels = load_model(dynamic, device="cpu"), noise(6)
    inputs = processor_inputs(dynamic, pixels)
    assert inputs["input_ids"].shape[1] < model.max_positions == 256
    torch.testing.assert_close(our_logits(model, pixels), published_logits(dynamic, inputs), atol=1e-4, rtol=0)


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
    published = published_logits(directory, processor_inputs(directory, pixels))
    torch.testing.assert_close(our_logits(model, pixels), published, atol=1e-4, rtol=0)
