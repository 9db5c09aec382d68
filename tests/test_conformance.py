"""Every adapter of a transformers model passes the conformance suite; the suite itself notices a wrong adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videox2l.testing.conformance import CHECKS, Subject, assert_identity, causality, noise
from videox2l.testing.tiny_models import FAMILIES, PUBLISHED_PROMPTS, build


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    directory = build(request.param, tmp_path_factory.mktemp(request.param))
    return Subject(directory, PUBLISHED_PROMPTS.get(request.param, str))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_family_conforms(subject: Subject, check: Callable[[Subject], None]) -> None:
    check(subject)


def test_an_adapter_that_swaps_two_frames_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject(build("llava_onevision", tmp_path))
    own = subject.model.visual_tokens

    def swapped(frames, place):
        tokens = own(frames, place)
        tokens.embeddings[:8] = tokens.embeddings[:8].roll(4, 0)
        return tokens

    monkeypatch.setattr(subject.model, "visual_tokens", swapped)
    with pytest.raises(AssertionError):
        assert_identity(subject, noise(6), 2)


def test_an_adapter_that_looks_ahead_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject(build("llava_onevision", tmp_path))
    own, seen = subject.model.visual_tokens, []

    def leaking(frames, place):
        seen.append(float(frames.pixels.float().sum()))
        tokens = own(frames, place)
        tokens.embeddings[:] += torch.tensor(seen[0] % 7) + len(seen) // 4  # the second video's chunks differ
        return tokens

    monkeypatch.setattr(subject.model, "visual_tokens", leaking)
    with pytest.raises(AssertionError):
        causality(subject)
