"""What must hold of every adapter, checked on a tiny checkpoint of the real class.

An adapter's author runs all of it with one line in a test of their own:

    def test_my_adapter_conforms(tmp_path):
        check_all(Subject(save_my_tiny_checkpoint(tmp_path)))

or, with pytest, check by check:

    @pytest.mark.parametrize("check", CHECKS)
    def test_my_adapter_conforms(check, tmp_path):
        check(Subject(save_my_tiny_checkpoint(tmp_path)))
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from unittest import mock

import av
import torch
from torch import Tensor
from torch.nn import functional as F

from videox2l.answering.generation import AnswerTokens, Generation, generate
from videox2l.answering.scheduler import Scheduler
from videox2l.answering.stream import AnswerStream
from videox2l.cli import main
from videox2l.compression.base import Compressor
from videox2l.compression.fresh import Fresh
from videox2l.compression.pool import Pool
from videox2l.engine import VideoX2L
from videox2l.index.builder import IndexProgress
from videox2l.index.reload import load_cache
from videox2l.index.video_index import VideoIndex
from videox2l.levels import FRESH, Level, level_name
from videox2l.models.base import MLLM
from videox2l.models.load import load_model
from videox2l.selection.top_k import TopK
from videox2l.store import DiskStore, RamStore
from videox2l.testing.reference import Reference, ReferenceAnswer, ReferenceModel
from videox2l.types import KV, VideoTokens
from videox2l.video import FrameArray, Sampling

QUESTION = "What turns red?"
EVERY_KV = Pool(levels=(1,), context="full", positions="original")
FRESH_AND_KVS = Pool(levels=(FRESH, 1), context="full", positions="original")
ONLY_FRESH = Fresh(positions="original")
TOLERANCE = 1e-4
"""Of logits in fp32 against the class's own forward."""
ANSWER_TOKENS = 8


@dataclass(frozen=True)
class Subject:
    """An adapter on trial.

    directory: a tiny checkpoint, saved whole: model, tokenizer, processor, chat template.
    prompt: see `Reference`.
    adapter: a class that is not found by the checkpoint's model_type yet; by default the one that is found. The command
        line finds adapters so, and is not tried with one given here.
    """

    directory: Path
    prompt: Callable[[str], str] = str
    adapter: type[MLLM] | None = None

    @cached_property
    def model(self) -> MLLM:
        """The checkpoint, loaded as any other, in fp32 on the CPU."""
        return self.load("float32")

    def load(self, dtype: str) -> MLLM:
        """The checkpoint in "float32", "bfloat16" or "float16" on the CPU."""
        if self.adapter is None:
            return load_model(self.directory, device="cpu", dtype=dtype)
        return self.adapter.from_directory(
            self.directory, torch.device("cpu"), getattr(torch, dtype), self.directory.name
        )

    def reference(self, pixels: Tensor) -> ReferenceModel:
        """The model's own class on a video (T, 3, H, W) and the question."""
        return Reference(self.directory, pixels, QUESTION, self.prompt)


def noise(frames: int, height: int = 72, width: int = 88) -> Tensor:
    """A video of blurred noise, uint8 (frames, 3, height, width); the same every time."""
    small = torch.rand(frames, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(1))
    return (F.interpolate(small, (height, width), mode="bilinear") * 255).to(torch.uint8)


def index_frames(
    engine: VideoX2L, pixels: Tensor, progress: Callable[[IndexProgress], None] = lambda _: None
) -> VideoIndex:
    """The index of frames (T, 3, H, W) a second apart."""
    video = FrameArray(pixels, [float(second) for second in range(len(pixels))])
    return engine.index(video, Sampling(fps=1), progress)


@torch.no_grad()
def answer(model: MLLM, index: VideoIndex, levels: tuple[Level, ...] | None = None) -> tuple[Tensor, list[int]]:
    """Logits of the first answer token (vocabulary,), and greedy ids, by default from the index's finest level."""
    levels = levels or (index.levels[0],) * len(index.entries)
    ids = model.question_ids(QUESTION)
    logits = model.logits(model.read(ids, load_cache(model, index, levels))[-1:])[0]
    greedy = Generation(ANSWER_TOKENS, temperature=0.0, repetition_penalty=1.0)
    return logits, list(generate(model, load_cache(model, index, levels), ids, greedy))


def lossless(model: MLLM) -> Compressor:
    """What keeps all of a video: every KV, or what enters the decoder of a model whose KVs can't be re-used."""
    return EVERY_KV if model.reuses_kvs else ONLY_FRESH


def assert_identity(subject: Subject, pixels: Tensor, chunk_frames: int) -> None:
    """With every KV kept at its original position the adapter gives its class's own logits and greedy ids."""
    model, reference = subject.model, subject.reference(pixels)
    index = index_frames(VideoX2L(model, lossless(model), chunk_frames=chunk_frames, store=RamStore()), pixels)
    tokens = index.full_tokens + len(model.question_ids(QUESTION))
    assert tokens == reference.tokens, f"{tokens} tokens, and {reference.tokens} by the class's own processor"
    assert_same_answer(answer(model, index), reference.answer(ANSWER_TOKENS))


def assert_same_answer(given: tuple[Tensor, list[int]], expected: ReferenceAnswer) -> None:
    """Logits of the first answer token and greedy ids are those of the class's own forward, to float tolerance."""
    logits, ids = given
    torch.testing.assert_close(logits, expected.logits[0], atol=TOLERANCE, rtol=0)
    certain = expected.certain_ids(TOLERANCE)
    assert ids[: len(certain)] == certain, f"{ids}, and {expected.ids} by the class's own generate"


def chunk_sizes(model: MLLM, *frames: int) -> list[int]:
    """These sizes of chunks, each made the next one that holds whole groups of the model's frames."""
    return sorted({-(-size // model.frame_group) * model.frame_group for size in frames})


def identity(subject: Subject) -> None:
    """The model is itself, whatever the chunk size."""
    for chunk_frames in chunk_sizes(subject.model, 2, 4, 10, 12):
        assert_identity(subject, noise(12), chunk_frames)


def odd_frame_count(subject: Subject) -> None:
    """A last chunk that is not full, and not a multiple of anything, changes nothing."""
    assert_identity(subject, noise(7), *chunk_sizes(subject.model, 4))
    assert_identity(subject, noise(3), *chunk_sizes(subject.model, 2))


def portrait_video(subject: Subject) -> None:
    """Nor do frames that are higher than wide."""
    assert_identity(subject, noise(6, height=112, width=64), *chunk_sizes(subject.model, 4))


def fresh_identity(subject: Subject) -> None:
    """The model is itself with every chunk prefilled anew, and where some are and others re-loaded."""
    pixels = noise(12)
    (chunk_frames,) = chunk_sizes(subject.model, 4)
    expected = subject.reference(pixels).answer(ANSWER_TOKENS)
    only_fresh = VideoX2L(subject.model, ONLY_FRESH, chunk_frames=chunk_frames, store=RamStore())
    assert_same_answer(answer(subject.model, index_frames(only_fresh, pixels)), expected)
    if not subject.model.reuses_kvs:
        return
    engine = VideoX2L(subject.model, FRESH_AND_KVS, chunk_frames=chunk_frames, store=RamStore())
    index = index_frames(engine, pixels)
    for levels in product(index.levels, repeat=len(index.entries)):
        assert_same_answer(answer(subject.model, index, levels), expected)


def causality(subject: Subject) -> None:
    """A later frame changes no KV of an earlier chunk, not by a bit."""
    pixels = noise(12)
    touched = pixels.clone()
    touched[9, 0, 36, 44] ^= 255
    compressors: list[Compressor] = [ONLY_FRESH]
    if subject.model.reuses_kvs:
        compressors += [Pool(levels=(1, 2), context=context) for context in ("compressed", "full")]
    for compressor in compressors:
        engine = VideoX2L(subject.model, compressor, chunk_frames=4, store=RamStore())
        before, after = index_frames(engine, pixels), index_frames(engine, touched)
        for level in compressor.levels:
            for chunk in range(3):
                old, new = contents(before.read(chunk, level)), contents(after.read(chunk, level))
                same = all(torch.equal(one, other) for one, other in zip(old, new, strict=True))
                assert same == (chunk < 2), f"chunk {chunk} at {level_name(level)}, {compressor}"


def contents(part: KV | VideoTokens) -> tuple[Tensor, ...]:
    """What a chunk shows, as it is kept."""
    return (part.keys, part.values) if isinstance(part, KV) else (part.embeddings,)


def resuming(subject: Subject) -> None:
    """An interrupted index goes on to the same bytes."""

    def interrupt(now: IndexProgress) -> None:
        if now.chunks == 2:
            raise KeyboardInterrupt

    pixels = noise(12)
    with tempfile.TemporaryDirectory() as directory:
        stores = [DiskStore(Path(directory) / name) for name in ("at once", "resumed")]
        compressor = Pool(levels=(FRESH, 2)) if subject.model.reuses_kvs else ONLY_FRESH
        engine = VideoX2L(subject.model, compressor, chunk_frames=4, store=stores[0])
        index = index_frames(engine, pixels)
        resumed = replace(engine, store=stores[1])
        try:
            index_frames(resumed, pixels, progress=interrupt)
        except KeyboardInterrupt:
            assert index_frames(resumed, pixels).entries == index.entries
        else:
            raise AssertionError("indexing was not interrupted")
        made, again = ({file.name: file.read_bytes() for file in store.directory.rglob("*.*")} for store in stores)
        assert made == again
        assert len(made) >= 5  # three chunks, prompt and manifest


def batching(subject: Subject) -> None:
    """Questions about two videos that are answered at once, joining at different steps, are answered as alone."""
    compressor = Pool(levels=(1, 2)) if subject.model.reuses_kvs else ONLY_FRESH
    selector = TopK(1, fine_edges=False)
    engine = VideoX2L(subject.model, compressor, chunk_frames=4, selector=selector, store=RamStore())
    indexes = [index_frames(engine, noise(12)), index_frames(engine, 255 - noise(7))]
    asked = [
        (indexes[0], QUESTION, Generation(2 * ANSWER_TOKENS)),
        (indexes[1], "Why?", Generation(3)),
        (indexes[1], "And what is it that happens after that?", Generation(ANSWER_TOKENS)),
        (indexes[0], QUESTION, Generation(ANSWER_TOKENS, temperature=1.5, top_k=20, seed=1)),
    ]
    chosen_by: dict[AnswerTokens, list[Tensor]] = {}
    choose = AnswerTokens.choose

    def record(tokens: AnswerTokens, logits: Tensor) -> Tensor:
        chosen_by.setdefault(tokens, []).append(logits[0])
        return choose(tokens, logits)

    def answers(scheduler: Scheduler, questions: Sequence[tuple[VideoIndex, str, Generation]]) -> list[AnswerStream]:
        streams = [
            engine.stream(index, question, generation=generation, scheduler=scheduler)
            for index, question, generation in questions
        ]
        while not scheduler.is_idle:
            scheduler.join()
            decoders.update({stream: stream.tokens for stream in streams if stream.tokens is not None})
            scheduler.step()
        return streams

    decoders: dict[AnswerStream, AnswerTokens] = {}
    with mock.patch.object(AnswerTokens, "choose", record):
        alone = [answers(engine.scheduler(sequences=1), [question])[0] for question in asked]
        together = answers(engine.scheduler(sequences=3, step_tokens=16), asked)
    for one, other in zip(together, alone, strict=True):
        logits, expected = (torch.stack(chosen_by[decoders[stream]]) for stream in (one, other))
        best = expected.topk(2).values
        is_close = best[:, 0] - best[:, 1] <= TOLERANCE  # where rounding may choose
        certain = int(is_close.nonzero()[0]) if is_close.any() else len(expected)
        assert one.token_ids[:certain] == other.token_ids[:certain], f"{one.token_ids}, and {other.token_ids} alone"
        steps = min(certain + 1, len(expected))
        torch.testing.assert_close(logits[:steps], expected[:steps], atol=TOLERANCE, rtol=0)


def half_precision(subject: Subject) -> None:
    """In bf16 and fp16 the logits point the same way."""
    pixels = noise(6)
    compressor = lossless(subject.model)
    exact, _ = answer(
        subject.model, index_frames(VideoX2L(subject.model, compressor, chunk_frames=4, store=RamStore()), pixels)
    )
    for dtype in ("bfloat16", "float16"):
        half = subject.load(dtype)
        index = index_frames(VideoX2L(half, compressor, chunk_frames=4, store=RamStore()), pixels)
        assert all(tensor.dtype == half.dtype for tensor in contents(index.read(0, index.levels[0])))
        rounded, _ = answer(half, index)
        similarity = float(F.cosine_similarity(exact, rounded, dim=0))
        assert similarity > 0.99, f"a cosine of {similarity} in {dtype}"


def command_line(subject: Subject) -> None:
    """`videox2l ask` answers about a video file."""
    if subject.adapter is not None:
        return
    with tempfile.TemporaryDirectory() as directory:
        video = write_video(Path(directory) / "video.mp4", noise(12))
        arguments = ["ask", video, QUESTION, "--model", subject.directory, "--chunk-frames", "4"]
        arguments += ["--levels", "2,4"] if subject.model.reuses_kvs else ["--k", "1", "--no-fine-edges"]
        arguments += ["--max-new-tokens", "4", "--store", Path(directory) / "store", "--json"]
        printed = io.StringIO()
        with mock.patch.object(sys, "argv", ["videox2l", *map(str, arguments)]), redirect_stdout(printed):
            try:
                main()
            except SystemExit as ended:
                assert not ended.code, f"it ended with code {ended.code}"
        told = json.loads(printed.getvalue())
        assert [chunk["end_s"] for chunk in told["chunks"]] == [4, 8, 12]
        assert 0 < told["cache_tokens"] < told["full_cache_tokens"]


def write_video(path: Path, pixels: Tensor) -> Path:
    """A video file of frames (T, 3, H, W) a second apart; its path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.height, stream.width = pixels.shape[2:]
        for picture in pixels.permute(0, 2, 3, 1).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


CHECKS: tuple[Callable[[Subject], None], ...] = (
    identity,
    odd_frame_count,
    portrait_video,
    fresh_identity,
    causality,
    resuming,
    batching,
    half_precision,
    command_line,
)
"""All of it; each raises AssertionError if it does not hold."""


def check_all(subject: Subject) -> None:
    """Raises: AssertionError for the first check that does not hold."""
    for check in CHECKS:
        check(subject)
