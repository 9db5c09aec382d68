"""The probe oracle: many chunks in one forward, each as if it were the whole video."""

from __future__ import annotations

import pytest
import torch

from videox2l import FrameArray, TopK, VideoIndex, VideoX2L
from videox2l.oracles.probe import Probe


@pytest.fixture(scope="module")
def video() -> FrameArray:
    pixels = torch.randint(0, 256, (9, 48, 64, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    return FrameArray(pixels, torch.arange(9.0))


def one_by_one(engine: VideoX2L, index: VideoIndex, question: str, level: int) -> torch.Tensor:
    model, ids = engine.model, engine.model.question_ids(question)
    scores = []
    for chunk in range(len(index.entries)):
        cache = model.new_cache(4096)
        cache.append(index.prompt)
        cache.append(index.kv(chunk, level))
        logits = model.logits(model.read(ids, cache)[-1:])
        scores.append(logits.softmax(-1).max())
    return torch.stack(scores)


@pytest.mark.parametrize("batch_tokens", [1, 400, 100_000])
@torch.no_grad()
def test_batched_certainties_equal_one_forward_per_chunk(engine: VideoX2L, video: FrameArray, batch_tokens: int):
    index = engine.index(video)  # 5 chunks, the last of one frame only
    for level in index.levels:
        scores = (
            Probe(level=level, batch_tokens=batch_tokens).score(engine.model, index, "Where is the red star?").chunks
        )
        assert scores.shape == (5,)
        expected = one_by_one(engine, index, "Where is the red star?", level)
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


def test_probe_is_an_oracle_by_name(engine: VideoX2L, video: FrameArray):
    index = engine.index(video)
    answer = engine.ask(index, "What digit is on the star?", oracle="probe", selector=TopK(1))
    inner = [chunk for chunk in answer.chunks if 0 < chunk.index < 4]  # first and last are fine without asking
    scores = {chunk.index: chunk.score for chunk in inner if chunk.score is not None}
    assert len(scores) == 3
    assert [chunk.index for chunk in inner if chunk.level == 2] == [max(scores, key=lambda index: scores[index])]
