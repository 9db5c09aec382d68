"""An index is found again exactly when nothing it depends on changed, and a broken store says what is broken."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from videos import write_video

from videox2l import Sampling, SummaryTokens, VideoX2L
from videox2l.errors import StoreError
from videox2l.index.builder import IndexProgress
from videox2l.models.load import load_model
from videox2l.store import DiskStore, RamStore, Store, default_directory, open_store


@pytest.fixture(params=["ram", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return RamStore() if request.param == "ram" else DiskStore(tmp_path / "store")


def chunk_file(directory: Path, chunk: int) -> Path:
    (file,) = directory.glob(f"*/chunk-{chunk:05d}.safetensors")
    return file


def test_what_a_shelf_was_given_it_gives_back(store: Store) -> None:
    tensors = {"2.keys": torch.randn(3, 2, 5, 16), "half": torch.randn(4).half(), "ids": torch.arange(7)}
    shelf = store.shelf("key")
    shelf.write("one", tensors, {"raw_tokens": 7})
    shelf.write("two", {"prompt": torch.ones(2, dtype=torch.bfloat16)}, {})
    assert shelf.manifest() is None
    shelf.finish({"levels": [2, 32]})
    shelf = store.shelf("key")
    for name, tensor in zip(("ids", "half", "2.keys"), shelf.read("one", ["ids", "half", "2.keys"]), strict=True):
        assert tensor.dtype == tensors[name].dtype
        assert torch.equal(tensor, tensors[name])
    assert shelf.header("one") == {"raw_tokens": 7}
    assert shelf.header("three") is None
    assert shelf.manifest() == {"levels": [2, 32]}
    assert shelf.read("two", ["prompt"])[0].tolist() == [1, 1]
    shelf.remove("two")
    assert shelf.header("two") is None
    assert store.shelf("other").manifest() is None


def test_an_absent_tensor_is_named(store: Store) -> None:
    shelf = store.shelf("key")
    shelf.write("one", {"thumbnail": torch.zeros(1)}, {})
    for part, names in (("one", ["thumbnail", "embeddings"]), ("two", ["thumbnail"])):
        with pytest.raises(StoreError, match=r"embeddings|two"):
            shelf.read(part, names)


def test_only_the_asked_level_is_read_from_disk(
    engine: VideoX2L, made_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = replace(engine, store=DiskStore(tmp_path)).index(made_clip)
    read: list[str] = []

    class Noting:
        def __init__(self, file: Path, framework: str):
            self.stream = safe_open(file, framework)

        def __enter__(self) -> Noting:
            self.stream = self.stream.__enter__()
            return self

        def __exit__(self, *error) -> None:
            self.stream.__exit__(*error)

        def keys(self) -> list[str]:
            return self.stream.keys()

        def get_tensor(self, name: str) -> torch.Tensor:
            read.append(name)
            return self.stream.get_tensor(name)

    monkeypatch.setattr("videox2l.store.disk.safe_open", Noting)
    assert len(index.kv(2, 32)) == 9
    assert read == ["32.keys", "32.values", "32.positions"]


def test_an_index_from_disk_equals_the_one_in_memory(engine: VideoX2L, made_clip: Path, tmp_path: Path) -> None:
    on_disk = replace(engine, store=DiskStore(tmp_path))
    ram, made, found = engine.index(made_clip), on_disk.index(made_clip), on_disk.index(made_clip)
    assert (ram.reused, made.reused, found.reused) == (False, False, True)
    assert ram.chunks == made.chunks == found.chunks
    assert ram.entries == found.entries
    assert (ram.key, ram.levels, ram.duration_s, ram.decoder_tokens) == (
        found.key,
        found.levels,
        found.duration_s,
        found.decoder_tokens,
    )
    for first, second in ((ram.prompt, found.prompt), *((ram.kv(c, 32), found.kv(c, 32)) for c in range(6))):
        assert torch.equal(first.keys, second.keys)
        assert torch.equal(first.values, second.values)
        assert torch.equal(first.positions, second.positions)
    assert torch.equal(ram.thumbnails.jpeg, found.thumbnails.jpeg)


def test_the_same_content_elsewhere_is_a_hit(engine: VideoX2L, made_clip: Path, tmp_path: Path) -> None:
    engine.index(made_clip)
    copy = shutil.copy(made_clip, tmp_path / "other name.mp4")
    assert engine.index(copy).reused
    with open(copy, "rb") as stream:
        assert engine.index(stream).reused
    for sampling in (Sampling(), Sampling(fps=1), Sampling(start_s=0), Sampling(max_frames=999)):
        assert engine.index(copy, sampling).reused
    for sizes in ((2,), (2, 2)):
        assert replace(engine, chunk_frames=sizes).index(made_clip).reused


def test_anything_the_index_depends_on_makes_a_miss(
    engine: VideoX2L, made_clip: Path, checkpoint: Path, tmp_path: Path
) -> None:
    known = {engine.index(made_clip).key}
    sampling = Sampling(frames=5)

    other_clip = write_video(tmp_path / "other.mp4", 48, fps=4)
    other_weights = shutil.copytree(checkpoint, tmp_path / "other")
    content = bytearray((other_weights / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (other_weights / "model.safetensors").write_bytes(content)
    changes = {
        "content": (engine, other_clip, Sampling()),
        "sampling": (engine, made_clip, sampling),
        "range": (engine, made_clip, replace(sampling, end_s=8)),
        "chunk size": (replace(engine, chunk_frames=3), made_clip, sampling),
        "weights": (replace(engine, model=load_model(other_weights, device="cpu")), made_clip, sampling),
        "dtype": (replace(engine, model=load_model(checkpoint, "cpu", "bfloat16")), made_clip, sampling),
        "levels": (replace(engine, compressor=SummaryTokens((2, 16))), made_clip, sampling),
        "passes": (replace(engine, compressor=SummaryTokens(passes="two_pass")), made_clip, sampling),
        "edge ratio": (
            replace(engine, compressor=SummaryTokens(passes="two_pass", edge_ratio=None)),
            made_clip,
            sampling,
        ),
        "context": (replace(engine, compressor=SummaryTokens(context_tokens=500)), made_clip, sampling),
    }
    for what, (changed, video, wanted) in changes.items():
        index = changed.index(video, wanted)
        assert not index.reused, what
        assert index.key not in known, what
        known.add(index.key)
        assert changed.index(video, wanted).reused, what


def test_settings_of_asking_leave_the_index_as_it_is(engine: VideoX2L, made_clip: Path) -> None:
    key = engine.index(made_clip).key
    for asking in (replace(engine, selector="even"), replace(engine, oracle="random")):
        index = asking.index(made_clip)
        assert index.reused
        assert index.key == key


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "gone"])
@pytest.mark.parametrize("name", ["chunk-00002.safetensors", "prompt.safetensors", "manifest.json"])
def test_a_damaged_file_of_a_complete_index_is_named(
    engine: VideoX2L, made_clip: Path, tmp_path: Path, name: str, damage: str
) -> None:
    on_disk = replace(engine, store=DiskStore(tmp_path))
    index = on_disk.index(made_clip)
    (file,) = tmp_path.glob(f"{index.key}/{name}")
    if damage == "gone":
        file.unlink()
        if name == "manifest.json":
            assert not on_disk.index(made_clip).reused  # as if interrupted: goes on and finishes
            return
    else:
        content = file.read_bytes()
        file.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "garbage": b"\x00" * len(content)}[damage])
    with pytest.raises(StoreError, match=r"^[^\n]+$") as error:
        on_disk.ask(on_disk.index(made_clip), "what?")
    assert str(file) in str(error.value)


def test_a_damaged_chunk_of_an_unfinished_index_is_made_again(
    engine: VideoX2L, made_clip: Path, tmp_path: Path
) -> None:
    on_disk = replace(engine, store=DiskStore(tmp_path))
    expected = on_disk.index(made_clip)
    kv = expected.kv(3, 32)
    (tmp_path / expected.key / "manifest.json").unlink()
    file = chunk_file(tmp_path, 3)
    file.write_bytes(file.read_bytes()[:100])
    seen: list[IndexProgress] = []
    index = on_disk.index(made_clip, progress=seen.append)
    assert seen[0].chunks == 3
    assert torch.equal(index.kv(3, 32).keys, kv.keys)


def test_what_was_read_outlives_its_file(engine: VideoX2L, made_clip: Path, tmp_path: Path) -> None:
    index = replace(engine, store=DiskStore(tmp_path)).index(made_clip)
    kv = index.kv(1, 2)
    total = kv.keys.sum()
    chunk_file(tmp_path, 1).write_bytes(b"")  # cut in place, under a mapping of it
    assert torch.equal(kv.keys.sum(), total)


def test_a_file_in_the_stores_place_is_an_error(engine: VideoX2L, made_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    for directory in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(StoreError, match=str(directory)):
            replace(engine, store=DiskStore(directory)).index(made_clip)
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("call", ["write", "replace"])
def test_a_full_disk_keeps_earlier_chunks_and_the_next_run_goes_on(
    engine: VideoX2L, made_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    on_disk, whole = replace(engine, store=DiskStore(tmp_path / "full")), DiskStore(tmp_path / "whole")
    expected = replace(engine, store=whole).index(made_clip)
    written = {"count": 0}
    real_write, real_replace = Path.write_bytes, os.replace

    def full(name: str) -> None:
        written["count"] += "chunk-" in name
        if written["count"] > 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    def write_bytes(path: Path, content: bytes) -> int:
        try:
            full(path.name)
        except OSError:
            real_write(path, content[: len(content) // 2])  # a full disk leaves half a file
            raise
        return real_write(path, content)

    def replace_file(source: str, target: str) -> None:
        full(str(target))
        real_replace(source, target)

    with monkeypatch.context() as patch:
        if call == "write":
            patch.setattr(Path, "write_bytes", write_bytes)
        else:
            patch.setattr(os, "replace", replace_file)
        with pytest.raises(StoreError, match="No space left on device") as error:
            on_disk.index(made_clip)
    assert "chunk-00003.safetensors" in str(error.value)
    assert sorted(file.name for file in (tmp_path / "full" / expected.key).iterdir()) == [
        f"chunk-{chunk:05d}.safetensors" for chunk in range(3)
    ]

    seen: list[IndexProgress] = []
    index = on_disk.index(made_clip, progress=seen.append)
    assert seen[0].chunks == 3
    assert (tmp_path / "full" / index.key / "manifest.json").read_bytes() == (
        tmp_path / "whole" / expected.key / "manifest.json"
    ).read_bytes()


def test_the_manifest_is_readable_json(engine: VideoX2L, made_clip: Path, tmp_path: Path) -> None:
    index = replace(engine, store=DiskStore(tmp_path)).index(made_clip)
    manifest = json.loads((tmp_path / index.key / "manifest.json").read_text())
    assert manifest["spec"]["compressor"]["name"] == "summary_tokens"
    assert manifest["spec"]["compressor"]["levels"] == [2, 4, 32]
    assert manifest["spec"]["video"]["times_s"] == list(range(12))
    assert [entry["chunk"]["start_s"] for entry in manifest["entries"]] == [0, 2, 4, 6, 8, 10]


def test_stores_are_opened_by_name_or_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOX2L_CACHE", str(tmp_path / "chosen"))
    assert isinstance(open_store("ram"), RamStore)
    assert default_directory() == tmp_path / "chosen"
    for place, directory in (("disk", tmp_path / "chosen"), (tmp_path, tmp_path)):
        store = open_store(place)
        assert isinstance(store, DiskStore)
        assert store.directory == directory
    monkeypatch.delenv("VIDEOX2L_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_directory() == tmp_path / "cache" / "videox2l"
    ram = RamStore()
    assert open_store(ram) is ram
