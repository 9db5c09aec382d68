"""A contrastive head trained for some Hugging Face model scores chunks in use as it did in training."""

import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from training.contrastive import ask, bags, export_head, recall, scores, train_head, watch
from videox2l import FrameArray, VideoX2L
from videox2l.compression.pool import Pool
from videox2l.errors import ModelError
from videox2l.models.load import load_model
from videox2l.oracles.contrastive import Contrastive
from videox2l.synthesis.world import render
from videox2l.testing import tiny_models

SECONDS, SIDE = 30, 64


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tiny_models.build("qwen3_vl", tmp_path_factory.mktemp("qwen3_vl"))


@pytest.fixture(scope="module")
def trained(directory, tmp_path_factory):
    model, rng = load_model(directory, device="cpu"), random.Random(0)
    videos = [watch(model, rng, SECONDS, SIDE, SIDE) for _ in range(2)]
    head = train_head(model, videos, steps=4, seed=0)
    for parameter in head.parameters():
        parameter.data.copy_(parameter.half().float())
    home = tmp_path_factory.mktemp("head")
    export_head(head, home)
    return model, videos, head, home


def test_chunks_are_scored_in_use_as_in_training(trained, directory):
    model, videos, head, home = trained
    engine = VideoX2L.from_pretrained(directory, device="cpu", encoder=home, compressor=Pool(levels=(2,)))
    assert engine.oracle == "contrastive"
    script = videos[0].script
    frames = np.stack([render(script, second, SIDE, SIDE) for second in range(SECONDS)])
    index = engine.index(FrameArray(torch.from_numpy(frames).permute(0, 3, 1, 2), range(SECONDS)))
    questions = [question.text for question in ask(random.Random(1), videos[0], 5)]
    expected = scores(head, bags(model, questions, len(model.tokenizer)), videos[0].tokens)
    assert engine.encoder is not None
    oracle = Contrastive(engine.encoder)
    for question, row in zip(questions, expected, strict=True):
        assert torch.allclose(oracle.score(engine.model, index, question).chunks, row, atol=0.01)
    assert expected.std() > 0.01


def test_recall_counts_questions_whose_chunks_are_all_among_the_best(trained):
    model, videos, head, _ = trained
    found = recall(model, head, videos, seed=0)
    assert {"attribute@1", "attribute@3", "order@3"} <= set(found)
    assert found["attribute@3"] == 1.0  # of three chunks


def test_a_head_for_another_model_is_refused(trained, directory, tmp_path):
    home = shutil.copytree(trained[3], tmp_path / "head")
    config = json.loads((home / "config.json").read_text())
    (home / "config.json").write_text(json.dumps(config | {"vocab_size": 99}))
    with pytest.raises(ModelError, match=r"vocab_size of 99, .* train one for this model"):
        VideoX2L.from_pretrained(directory, device="cpu", encoder=home)
