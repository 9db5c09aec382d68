"""A decoder that does not run behind a cache as in one go is refused when it is loaded, in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlavaNextVideoConfig, LlavaNextVideoForConditionalGeneration

from videox2l.errors import ModelError
from videox2l.models import cached_attention, hugging_face
from videox2l.models.hugging_face import HuggingFaceMLLM
from videox2l.models.load import load_model
from videox2l.testing import tiny_models
from videox2l.testing.conformance import Subject, assert_identity, noise
from videox2l.testing.tiny_models.parts import TEXT


def with_decoder(directory: Path, **text: Any) -> Path:
    """LLaVA-NeXT-Video with another decoder."""
    tiny_models.build("llava_next_video", directory)
    file = directory / "config.json"
    config = json.loads(file.read_text())
    config["text_config"] = {"vocab_size": config["text_config"]["vocab_size"], **TEXT, **text}
    file.write_text(json.dumps(config))
    torch.manual_seed(0)
    model = LlavaNextVideoForConditionalGeneration(LlavaNextVideoConfig.from_pretrained(directory))
    model.save_pretrained(directory)
    return directory


REFUSED = [
    (
        dict(model_type="mistral", sliding_window=64),
        r"\(mistral\) has a sliding_window: its tokens attend only to the last 64",
    ),
    (dict(model_type="phi"), r"\(phi\) rotates only a part of each head \(partial_rotary_factor 0.5\)"),
    (
        dict(model_type="cohere"),
        r"\(cohere\), run chunk by chunk, departs from itself: the queries of layer 0 differ by",
    ),
    (dict(model_type="gemma2", head_dim=8, layer_types=["full_attention"] * 3), r"\(gemma2\) .*softcap"),
    (dict(model_type="smollm3", num_hidden_layers=4), r"\(smollm3\), run chunk by chunk, .*the queries of layer 3"),
    (dict(model_type="gptj"), r"\(gptj\) can't be run chunk by chunk"),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("text", "sentence"), REFUSED, ids=lambda value: value["model_type"] if isinstance(value, dict) else ""
)
def test_a_decoder_that_is_not_itself_chunk_by_chunk_is_refused(tmp_path, text, sentence, dtype):
    with pytest.raises(
        ModelError, match=rf"^the decoder {sentence}[^\n]*: pass [^\n]*$|^[^\n]*{sentence}[^\n]*; pass [^\n]*$"
    ):
        load_model(with_decoder(tmp_path, **text), device="cpu", dtype=dtype)


@pytest.mark.parametrize("text", [dict(model_type="mistral", sliding_window=64), dict(model_type="phi")], ids=str)
def test_the_check_itself_finds_what_the_configuration_says(tmp_path, text, monkeypatch):
    """Other checkpoints may say it in another place, or not at all."""
    monkeypatch.setattr(hugging_face, "refuse_decoder", lambda config: None)
    with pytest.raises(ModelError, match=r"sliding_window|can't be run chunk by chunk"):
        load_model(with_decoder(tmp_path, **text), device="cpu")


PROVEN = [
    dict(model_type="mistral", sliding_window=None),
    dict(model_type="mistral", sliding_window=4096),  # its whole context
    dict(model_type="phi3"),
    dict(model_type="granite", attention_multiplier=0.3, embedding_multiplier=2.0),
    dict(model_type="olmo2"),
    dict(model_type="mixtral", sliding_window=None),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("text", PROVEN, ids=str)
def test_a_decoder_that_passes_is_itself(tmp_path, text, dtype):
    """Decoders that nobody here made an adapter for."""
    directory = with_decoder(tmp_path, **text)
    if dtype == "float32":
        assert_identity(Subject(directory), noise(6), 4)
    else:
        load_model(directory, device="cpu", dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("family", sorted(tiny_models.FAMILIES))
def test_every_family_passes(tmp_path, family, dtype):
    load_model(tiny_models.build(family, tmp_path), device="cpu", dtype=dtype)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl"])
def test_three_axes_are_told_apart(tmp_path, family, monkeypatch):
    """An adapter that gave every axis the position of time would pass on text alone."""
    rotate = HuggingFaceMLLM.rotate
    monkeypatch.setattr(
        HuggingFaceMLLM,
        "rotate",
        lambda self, states, positions: rotate(self, states, positions[:1].expand_as(positions)),
    )
    with pytest.raises(ModelError, match="departs from itself"):
        load_model(tiny_models.build(family, tmp_path), device="cpu")


def test_the_check_leaves_the_decoder_as_it_found_it(tmp_path):
    model = load_model(with_decoder(tmp_path, num_hidden_layers=5, model_type="llama"), device="cpu")
    assert isinstance(model, HuggingFaceMLLM)
    assert len(model.decoder.layers) == 5
    assert [layer.self_attn.layer_idx for layer in model.decoder.layers] == list(range(5))
    assert model.decoder.config._attn_implementation == cached_attention.ATTENTION
