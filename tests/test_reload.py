"""What the last answer's cache and the last reads hold is not loaded again, and nothing changes by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from videox2l import FrameArray, Generation, Manual, OneLevel, Sampling, VideoIndex, VideoX2L
from videox2l.compression.pool import Pool
from videox2l.index.read_once import ReadOnce
from videox2l.index.reload import LastCache, MergedCache, merge
from videox2l.levels import FRESH, NOTHING
from videox2l.models.forward import Forward
from videox2l.models.load import load_model
from videox2l.store import DiskStore, RamStore
from videox2l.store.disk import DiskShelf
from videox2l.testing.conformance import noise
from videox2l.testing.tiny_models import build
from videox2l.types import Positions

FINE, COARSE = 1, 2


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(params=["contiguous", "original"])
def of_family(family: Path, request: pytest.FixtureRequest) -> tuple[VideoX2L, VideoIndex]:
    positions: Positions = request.param
    model = load_model(family, device="cpu")
    engine = VideoX2L(model, Pool((FINE, COARSE), positions=positions), chunk_frames=4, store=RamStore())
    return engine, engine.index(FrameArray(noise(20), range(20)), Sampling(fps=1))


def assert_same(cache: MergedCache, other: MergedCache) -> None:
    ours, theirs = cache.cache, other.cache
    assert (ours.length, ours.next_position) == (theirs.length, theirs.next_position)
    assert torch.equal(ours.keys[:, :, : ours.length], theirs.keys[:, :, : theirs.length])
    assert torch.equal(ours.values[:, :, : ours.length], theirs.values[:, :, : theirs.length])


SELECTIONS = [
    (FINE, COARSE, COARSE, COARSE, FINE),
    (FINE, COARSE, FINE, COARSE, FINE),
    (FINE, COARSE, FINE, FINE, COARSE),
    (COARSE, COARSE, FINE, FINE, COARSE),
    (COARSE, COARSE, FINE, FINE, COARSE),
]
"""Two share two chunks with the one before, one three, one none, and one all."""


@torch.no_grad()
def test_a_cache_that_goes_on_from_the_last_one_is_the_same(of_family: tuple[VideoX2L, VideoIndex]) -> None:
    engine, index = of_family
    model, last, buffers = engine.model, LastCache(), set()
    for levels in SELECTIONS:
        merged = merge(model, index, levels, room=100, last=last)
        assert_same(merged, merge(model, index, levels))
        model.read(model.question_ids("What turns red?"), merged.cache)  # as an answer leaves it
        last.keep(merged)
        buffers.add(merged.cache.keys.data_ptr())
    assert len(buffers) == 1


@torch.no_grad()
def test_chunks_that_were_prefilled_anew_are_not_prefilled_again(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five chunks the second selection reads the first three as the first one does."""
    model = load_model(family, device="cpu")
    engine = VideoX2L(model, Pool((FRESH, COARSE)), chunk_frames=4, store=RamStore())
    index = engine.index(FrameArray(noise(20), range(20)), Sampling(fps=1))
    last, runs, real = LastCache(), [], model.run

    def run(embeddings: Tensor, forward: Forward) -> Tensor:
        runs.append(len(embeddings))
        return real(embeddings, forward)

    monkeypatch.setattr(model, "run", run)
    for levels, prefilled in (
        ((FRESH, COARSE, FRESH, COARSE, COARSE), (0, 2)),
        ((FRESH, COARSE, FRESH, FRESH, NOTHING), (3,)),
    ):
        runs.clear()
        merged = merge(model, index, levels, room=200, last=last)
        assert runs == [index.entries[chunk].tokens[FRESH] for chunk in prefilled]
        whole = merge(model, index, levels)
        for ours, theirs in ((merged.cache.keys, whole.cache.keys), (merged.cache.values, whole.cache.values)):
            filled = slice(whole.cache.length)
            torch.testing.assert_close(ours[:, :, filled], theirs[:, :, filled], atol=1e-5, rtol=1e-5)
        assert (merged.cache.length, merged.cache.next_position) == (whole.cache.length, whole.cache.next_position)
        last.keep(merged)


@pytest.fixture
def read_parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The chunks that are read from disk, each time they are."""
    parts: list[str] = []
    real = DiskShelf.read

    def note(shelf: DiskShelf, part: str, names: Sequence[str]) -> list[Tensor]:
        if part.startswith("chunk"):
            parts.append(part)
        return real(shelf, part, names)

    monkeypatch.setattr(DiskShelf, "read", note)
    return parts


@pytest.fixture
def on_disk(engine: VideoX2L, tmp_path: Path) -> Callable[[int], tuple[VideoX2L, VideoIndex]]:
    """An engine, and an index of so many frames in chunks of 2."""

    def make(frames: int) -> tuple[VideoX2L, VideoIndex]:
        own = replace(engine, store=DiskStore(tmp_path))
        return own, own.index(FrameArray(noise(frames, 48, 64), range(frames)), Sampling(fps=1))

    return make


@pytest.mark.parametrize(("keeps_cache", "read"), [(True, [6, 3, 5]), (False, [6, 6, 6])])
def test_the_next_question_reads_only_what_differs(
    on_disk: Callable[[int], tuple[VideoX2L, VideoIndex]], read_parts: list[str], keeps_cache: bool, read: list[int]
) -> None:
    """Of six chunks the second question reads the first three as the first one did, and the third the first one."""
    engine, index = on_disk(12)
    engine, alone = replace(engine, keeps_cache=keeps_cache), replace(engine, keeps_cache=False)
    counts = []
    for chosen in (3, 4, 1):
        settings = {"selector": Manual((chosen,), fine_edges=False), "generation": Generation(8)}
        expected = alone.ask(index, "Who?", **settings)
        read_parts.clear()
        assert engine.ask(index, "Who?", **settings).text == expected.text
        counts.append(len(read_parts))
    assert counts == read


def test_a_cache_of_another_video_or_of_another_size_does_not_serve(
    on_disk: Callable[[int], tuple[VideoX2L, VideoIndex]], read_parts: list[str]
) -> None:
    engine, index = on_disk(12)
    _, other = on_disk(10)
    for first, second, levels, chunks in (
        (index, other, 32, 5),
        (index, index, 2, 6),  # there is no room in the smaller cache
        (index, index, 32, 0),
    ):
        engine.ask(first, "Who?", selector=OneLevel(32), generation=Generation(8))
        read_parts.clear()
        engine.ask(second, "Who?", selector=OneLevel(levels), generation=Generation(8))
        assert len(read_parts) == chunks
    assert LastCache().take(index, 1, torch.device("cpu")) is None
    large, last = merge(engine.model, index, (2,) * 6), LastCache()
    last.keep(large)
    assert last.take(index, large.cache.capacity // 3, torch.device("cpu")) is None  # most of it would be unused
    assert last.take(index, large.cache.capacity, torch.device("cpu")) is None  # what was taken is not kept


def test_one_cache_is_kept_and_none_if_that_is_switched_off(engine: VideoX2L, made_clip: Path) -> None:
    index = engine.index(made_clip)
    caches = [merge(engine.model, index, (32,) * 6) for _ in range(2)]
    for most, kept in ((1, caches[1]), (0, None)):
        last = LastCache(most)
        for merged in caches:
            last.keep(merged)
        assert last.take(index, caches[0].cache.capacity, torch.device("cpu")) is kept


def test_what_is_remembered_of_a_store_stays_within_its_limit(
    on_disk: Callable[[int], tuple[VideoX2L, VideoIndex]], read_parts: list[str]
) -> None:
    engine, index = on_disk(12)
    bytes_each = engine.index(FrameArray(noise(12, 48, 64), range(12)), Sampling(fps=1)).kv(0, 2).nbytes
    reads = ReadOnce(most_bytes=int(2.5 * bytes_each))
    remembering = reads.of(index)
    read_parts.clear()
    for chunk in (0, 1, 0, 1, 2, 1, 2, 0):
        kv = remembering.kv(chunk, 2)
        assert torch.equal(kv.keys, index.kv(chunk, 2).keys)
        read_parts.pop()  # the one to compare with
    assert [int(part[-5:]) for part in read_parts] == [0, 1, 2, 0]
    reads.forget()
    remembering.kv(0, 2)
    assert len(read_parts) == 5


def test_the_last_reader_leaves_nothing_to_be_remembered(
    on_disk: Callable[[int], tuple[VideoX2L, VideoIndex]], read_parts: list[str]
) -> None:
    _, index = on_disk(4)
    reads = ReadOnce()
    reads.of(index).kv(0, 2)
    read_parts.clear()
    last = reads.of(index, is_last=True)
    for chunk in (0, 1, 1):
        last.kv(chunk, 2)
    assert read_parts == ["chunk-00001", "chunk-00001"]
