"""Every adapter passes the conformance suite; the suite itself notices a wrong adapter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from checkpoints import plain_qwen2, save_video_xl, save_video_xl_2
from golden_sets import COMMITTED
from torch import Tensor

from videox2l.models.bundled import BUNDLED
from videox2l.models.llava_onevision import LlavaOnevision
from videox2l.models.load import ADAPTERS
from videox2l.testing.conformance import CHECKS, QUESTION, Subject, assert_identity, causality, check_all, noise
from videox2l.testing.reference import ReferenceAnswer
from videox2l.testing.tiny_models import FAMILIES, RECURRENT_FAMILIES, build, published_prompt
from videox2l.types import ChunkPlace, Frames, VideoOutline


class PlainDecoder:
    """transformers' Qwen2 on the adapter's own visual tokens: a reference for models that transformers has not."""

    def __init__(self, subject: Subject, pixels: Tensor):
        model, frames = subject.model, len(pixels)
        video = VideoOutline(frames, float(frames))
        prompt, question = model.prompt_ids(video), model.question_ids(QUESTION)
        place = ChunkPlace(video, 0, len(prompt), is_last=True)
        tokens = model.visual_tokens(Frames(pixels, torch.arange(frames).double()), place)
        self.decoder = plain_qwen2(subject.directory)
        self.ends = model.eos_ids
        self.inputs = torch.cat([model.embed(prompt), tokens.embeddings, model.embed(question)])

    @property
    def tokens(self) -> int:
        return len(self.inputs)

    @torch.no_grad()
    def answer(self, tokens: int) -> ReferenceAnswer:
        inputs, logits, ids = self.inputs, [], []
        for _ in range(tokens):
            logits.append(self.decoder(inputs_embeds=inputs[None]).logits[0, -1])
            token = logits[-1].argmax()
            if int(token) in self.ends:
                break
            ids.append(int(token))
            inputs = torch.cat([inputs, self.decoder.get_input_embeddings()(token[None])])
        return ReferenceAnswer(torch.stack(logits), ids)


class LlavaQwenSubject(Subject):
    def reference(self, pixels: Tensor) -> PlainDecoder:
        return PlainDecoder(self, pixels)


def tiny(family: str, directory: Path) -> Subject:
    return Subject(build(family, directory), published_prompt(family))


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    **{family: partial(tiny, family) for family in (*FAMILIES, *RECURRENT_FAMILIES)},
    "nano": lambda _: LlavaQwenSubject(BUNDLED["nano"]),
    "nano-qwen": lambda _: Subject(BUNDLED["nano-qwen"], published_prompt("qwen3_vl")),
    "video_xl": lambda directory: LlavaQwenSubject(save_video_xl(COMMITTED / "videox22l", directory)),
    "video_xl_2": lambda directory: LlavaQwenSubject(save_video_xl_2(COMMITTED / "videoxl2", directory)),
}


@pytest.fixture(scope="module", params=sorted(SUBJECTS))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return SUBJECTS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_adapter_conforms(subject: Subject, check: Callable[[Subject], None]) -> None:
    check(subject)


def test_every_adapter_is_among_them() -> None:
    assert {*FAMILIES, *RECURRENT_FAMILIES, "llava_qwen/video_xl", "llava_qwen/video_xl_2"} == {*ADAPTERS.names}


def test_an_adapter_that_is_not_registered_yet_can_be_tried(tmp_path: Path) -> None:
    """Its author's whole test."""

    class Mine(LlavaOnevision):
        pass

    subject = Subject(build("llava_onevision", tmp_path), adapter=Mine)
    check_all(subject)
    assert type(subject.model) is Mine


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
