"""An index grows chunk by chunk, survives interruption and company, and says what made it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from videos import write_video

from videox2l import Sampling, SummaryTokens, VideoX2L
from videox2l.index.builder import IndexBuilder, IndexProgress
from videox2l.index.spec import IndexSpec
from videox2l.store import DiskStore, RamStore
from videox2l.tracks.thumbnails import Thumbnails
from videox2l.video import open_video


def test_chunks_appended_by_hand_make_the_same_index(engine: VideoX2L, made_clip: Path) -> None:
    expected = engine.index(made_clip)
    video, store = open_video(made_clip), RamStore()
    compressor = engine.index_compressor
    spec = IndexSpec.of(video.spec((2,)), engine.model, compressor)
    with torch.no_grad():
        builder = IndexBuilder(spec, store, video.outline, engine.model, compressor, [Thumbnails()])
        stored = [builder.append(frames, video.reading) for frames in video.chunks(2)]
        index = builder.seal(video.name, video.end_s)
    assert stored == [False, True, True, True, True, True]
    assert index.key == expected.key
    assert index.entries == expected.entries
    for chunk in range(6):
        for level in (2, 4, 32):
            assert torch.equal(index.kv(chunk, level).keys, expected.kv(chunk, level).keys)
    assert torch.equal(index.thumbnails.jpeg, expected.thumbnails.jpeg)


def test_notes_of_damage_survive_an_interruption(engine: VideoX2L, tmp_path: Path) -> None:
    path = write_video(tmp_path / "damaged.mp4", 240, fps=20, container_options={"movflags": "faststart"}, gop=10)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + len(content) // 10] = bytes(len(content) // 10)
    path.write_bytes(content)
    whole = replace(engine, chunk_frames=4, store=DiskStore(tmp_path / "whole"))
    expected = whole.index(path, Sampling(fps=4))
    assert any("did not decode" in note for note in expected.notes)

    def interrupt(now: IndexProgress) -> None:
        if now.chunks == len(expected.entries) - 1:
            raise KeyboardInterrupt

    resumed = replace(whole, store=DiskStore(tmp_path / "resumed"))
    with pytest.raises(KeyboardInterrupt):
        resumed.index(path, Sampling(fps=4), progress=interrupt)
    index = resumed.index(path, Sampling(fps=4))
    assert index.notes == expected.notes
    manifests = [(tmp_path / name / expected.key / "manifest.json").read_bytes() for name in ("whole", "resumed")]
    assert manifests[0] == manifests[1]
    assert resumed.index(path, Sampling(fps=4)).notes == expected.notes


def test_notes_of_the_sampling_are_those_of_this_call(engine: VideoX2L, made_clip: Path) -> None:
    assert engine.index(made_clip, Sampling(end_s=99)).notes != ()
    again = engine.index(made_clip)
    assert again.reused
    assert again.notes == ()


def test_threads_that_index_one_video_do_not_disturb_each_other(
    engine: VideoX2L, made_clip: Path, tmp_path: Path
) -> None:
    expected = engine.index(made_clip)
    for attempt in range(3):
        shared = replace(engine, store=DiskStore(tmp_path / str(attempt)))
        with ThreadPoolExecutor(4) as threads:
            runs = [threads.submit(shared.index, made_clip) for _ in range(4)]
        for each in (run.result() for run in runs):
            assert each.entries == expected.entries
            assert torch.equal(each.thumbnails.jpeg, expected.thumbnails.jpeg)
        assert not list(tmp_path.rglob(".*"))  # no temporary file is left
        assert not list(tmp_path.rglob("part-*"))


def test_a_spec_is_plain_data_that_comes_back(engine: VideoX2L, made_clip: Path) -> None:
    spec = engine.index(made_clip).spec
    assert IndexSpec.from_json(spec.to_json()) == spec
    assert spec.compressor["name"] == "summary_tokens"
    assert (spec.levels, spec.positions, spec.dtype) == ((2, 4, 32), "contiguous", "torch.float32")
    assert spec.video.times_s == tuple(float(second) for second in range(12))


def test_compressors_of_equal_settings_make_one_spec(engine: VideoX2L, made_clip: Path) -> None:
    video = open_video(made_clip).spec((2,))
    specs = [
        IndexSpec.of(video, engine.model, compressor).key
        for compressor in (SummaryTokens(), SummaryTokens((2, 32)), SummaryTokens((2, 16)))
    ]
    assert specs[0] == specs[1] != specs[2]
