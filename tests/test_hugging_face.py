"""transformers' multimodal LLMs beyond what every adapter is checked for: oracles, chats, sizes, refusals."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import (
    Blip2Config,
    Gemma3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3_5MoeConfig,
)

from videox2l import VideoX2L
from videox2l.answering.generation import Generation
from videox2l.compression.pool import Pool
from videox2l.errors import ModelError, SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM, Decoding
from videox2l.models.load import load_model
from videox2l.testing import tiny_models
from videox2l.testing.conformance import QUESTION, index_frames, noise


@pytest.fixture(scope="module", params=sorted(tiny_models.FAMILIES))
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(directory: Path) -> MLLM:
    return load_model(directory, device="cpu")


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return noise(12)


def index(model: MLLM, pixels: torch.Tensor, **settings: Any) -> tuple[VideoX2L, VideoIndex]:
    engine = VideoX2L(model, **{"compressor": Pool(levels=(2, 4)), **settings})
    return engine, index_frames(engine, pixels)


def test_loading_draws_no_bar_where_nobody_looks(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    was = transformers.utils.logging.is_progress_bar_enabled()
    load_model(directory, device="cpu")
    assert "Loading weights" not in capfd.readouterr().err
    assert transformers.utils.logging.is_progress_bar_enabled() == was


@pytest.mark.parametrize("oracle", ["attention", "qk", "probe", "fusion", "cascade"])
def test_the_models_own_oracles_score_it(model, pixels, oracle):
    engine, made = index(model, pixels, chunk_frames=4, oracle=oracle)
    scores = [chunk.score for chunk in engine.ask(made, QUESTION).chunks]
    assert len(scores) == 3
    assert all(score is not None and math.isfinite(score) for score in scores)


@torch.no_grad()
def test_a_chat_goes_on_behind_the_video(model, pixels):
    engine, made = index(model, pixels, chunk_frames=4)
    chat = engine.chat(made)
    chat.ask(QUESTION, generation=Generation(max_new_tokens=2))
    ids = model.question_ids("And then?", tuple(chat.turns))
    text = model.tokenizer.decode(ids)
    assert text.index(QUESTION) < text.index("And then?")
    assert model.video_mark not in text


def test_frames_of_any_size_are_taken(model):
    for height, width in ((1, 64), (300, 20)):
        blank = torch.zeros(3, 3, height, width, dtype=torch.uint8)
        engine, made = index(model, blank, compressor=Pool(levels=(1,)), chunk_frames=2)
        assert engine.ask(made, QUESTION).full_cache_tokens > 0


def test_levels_beyond_a_chunks_tokens_are_refused(model, pixels):
    with pytest.raises(SettingsError, match="level 500 is not possible: a chunk of 2 frames has"):
        index(model, pixels, compressor=Pool(levels=(2, 500)), chunk_frames=2)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Decoding()),
        ({"repetition_penalty": 1.05, "do_sample": True, "temperature": 1e-6}, Decoding(1e-6, 50, 1.0, 1.05)),
        ({"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20}, Decoding(0.7, 20, 0.8, 1.0)),
        ({"do_sample": True}, Decoding(1.0, 50, 1.0, 1.0)),
        ({"temperature": 0.7, "top_k": 20}, Decoding()),  # without do_sample transformers decodes greedily
    ],
    ids=str,
)
def test_a_checkpoints_generation_config_is_taken_over(tmp_path, settings, expected):
    directory = tiny_models.build("llava_onevision", tmp_path)
    file = directory / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    assert load_model(directory, device="cpu").decoding == expected


def test_a_checkpoint_can_say_that_it_was_not_trained_on_conversations(directory: Path, tmp_path: Path) -> None:
    assert load_model(directory, device="cpu").trained_on_conversations
    copy = shutil.copytree(directory, tmp_path / "copy")
    (copy / "generation_config.json").write_text(json.dumps({"trained_on_conversations": False}))
    assert not load_model(copy, device="cpu").trained_on_conversations


def config_only(directory: Path, config: PreTrainedConfig) -> Path:
    config.save_pretrained(directory)
    return directory


def test_models_that_can_not_be_driven_say_why(tmp_path):
    with pytest.raises(ModelError, match=r"text-only model \(qwen2\).*adapters for internvl, llava_next_video, llava"):
        load_model(config_only(tmp_path / "text", Qwen2Config()), device="cpu")
    with pytest.raises(ModelError, match="sliding_attention layers"):
        load_model(config_only(tmp_path / "gemma", Gemma3Config()), device="cpu")
    with pytest.raises(ModelError, match="linear_attention layers"):
        load_model(config_only(tmp_path / "linear", Qwen3_5MoeConfig()), device="cpu")
    with pytest.raises(ModelError, match=r"'blip-2'.*no adapter.*docs/adding-a-model.md"):
        load_model(config_only(tmp_path / "other", Blip2Config()), device="cpu")


def test_a_checkpoint_that_lacks_something_says_what(directory, tmp_path):
    for name in ("weights", "template", "tokenizer"):
        shutil.copytree(directory, tmp_path / name)
    (tmp_path / "weights" / "model.safetensors").unlink()
    (tmp_path / "template" / "chat_template.jinja").unlink()
    for file in (tmp_path / "tokenizer").glob("tokenizer*"):
        file.unlink()
    for name, message in (("weights", "no .*safetensors"), ("tokenizer", "no token")):
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path / name, device="cpu")
    if load_model(directory, device="cpu").chat_template is not None:  # the family's own, whatever the checkpoint has
        load_model(tmp_path / "template", device="cpu")
    else:
        with pytest.raises(ModelError, match="no chat template"):
            load_model(tmp_path / "template", device="cpu")
