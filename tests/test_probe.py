"""The probe oracle: many chunks in one forward, each as if it were the whole video."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from videox2l import FrameArray, TopK, VideoIndex, VideoX2L
from videox2l.errors import SettingsError
from videox2l.oracles.probe import Probe

QUESTION = "Where is the red star?"


@pytest.fixture(scope="module")
def video() -> FrameArray:
    pixels = torch.randint(0, 256, (9, 48, 64, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    return FrameArray(pixels, torch.arange(9.0))


def one_by_one(engine: VideoX2L, index: VideoIndex, level: int, chunks: list[int], tokens: int) -> Tensor:
    """For each chunk the log-probabilities of the likeliest answer's first tokens, (tokens, chunks, vocabulary)."""
    model, ids = engine.model, engine.model.question_ids(QUESTION)
    rows = []
    for chunk in chunks:
        cache = model.new_cache(4096)
        cache.append(index.prompt)
        cache.append(index.kv(chunk, level))
        steps = [model.logits(model.read(ids, cache)[-1:])[0]]
        while len(steps) < tokens:
            steps.append(model.logits(model.read(steps[-1].argmax()[None], cache))[0])
        rows.append(torch.stack(steps))
    return torch.stack(rows, dim=1).log_softmax(-1)


def divergence(log_probabilities: Tensor) -> Tensor:
    """Of the mean over the chunks from each, summed over tokens: (tokens, chunks, vocabulary) -> (chunks,)."""
    mean = log_probabilities.exp().mean(dim=1, keepdim=True)
    return (mean * (mean.log() - log_probabilities)).sum(dim=(0, 2))


@pytest.mark.parametrize("batch_tokens", [1, 400, 100_000])
@torch.no_grad()
def test_batched_scores_equal_one_forward_per_chunk(engine: VideoX2L, video: FrameArray, batch_tokens: int):
    index = engine.index(video)  # 5 chunks, the last of one frame only
    for level in (2, 32):
        for tokens in (1, 3):
            expected = divergence(one_by_one(engine, index, level, [*range(5)], tokens))
            probe = Probe(level=level, answer_tokens=tokens, batch_tokens=batch_tokens)
            scores = probe.score(engine.model, index, QUESTION).chunks
            torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-6)
            assert scores.min() > 1e-5


@torch.no_grad()
def test_chunks_are_compared_among_those_that_are_probed(engine: VideoX2L, video: FrameArray):
    index = engine.index(video)
    scores = Probe().among([3, 1], engine.model, index, QUESTION)
    expected = divergence(one_by_one(engine, index, 2, [3, 1], 2))
    torch.testing.assert_close(scores[[3, 1]], expected, rtol=1e-3, atol=1e-6)
    assert scores[[0, 2, 4]].tolist() == [0, 0, 0]


def test_logits_in_parts_give_the_same_scores(
    engine: VideoX2L, video: FrameArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = engine.index(video)
    at_once = Probe().score(engine.model, index, QUESTION).chunks
    monkeypatch.setattr("videox2l.oracles.probe.LOGITS_AT_ONCE", 2)
    torch.testing.assert_close(Probe().score(engine.model, index, QUESTION).chunks, at_once, rtol=1e-3, atol=1e-6)


def test_probe_is_an_oracle_by_name(engine: VideoX2L, video: FrameArray):
    index = engine.index(video)
    answer = engine.ask(index, "What digit is on the star?", oracle="probe", selector=TopK(1))
    inner = [chunk for chunk in answer.chunks if 0 < chunk.index < 4]  # first and last are fine without asking
    scores = {chunk.index: chunk.score for chunk in inner if chunk.score is not None}
    assert len(scores) == 3
    assert [chunk.index for chunk in inner if chunk.level == 2] == [max(scores, key=lambda index: scores[index])]


def test_no_answer_token_is_refused() -> None:
    with pytest.raises(SettingsError, match="answer_tokens=0 leaves no answer to look at"):
        Probe(answer_tokens=0)
