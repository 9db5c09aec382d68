"""Checkpoints load as they are published, and a broken one says what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from videox2l import Generation, VideoX2L
from videox2l.errors import ModelError, SettingsError
from videox2l.models.checkpoint import checkpoint_fingerprint
from videox2l.models.load import load_model
from videox2l.models.video_xl.adapter import VideoXL


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of one's own to break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


def change_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, directory / "model.safetensors")


def change_config(directory: Path, **values: object) -> None:
    config = json.loads((directory / "config.json").read_text()) | values
    (directory / "config.json").write_text(
        json.dumps({name: value for name, value in config.items() if value is not ...})
    )


def split_into_shards(directory: Path) -> None:
    """Three files and an index, as large checkpoints come."""
    weights = load_file(directory / "model.safetensors")
    names = sorted(weights)
    weight_map: dict[str, str] = {}
    for shard in range(3):
        file = f"model-{shard + 1:05d}-of-00003.safetensors"
        save_file({name: weights[name] for name in names[shard::3]}, directory / file)
        weight_map |= dict.fromkeys(names[shard::3], file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (directory / "model.safetensors").unlink()


def test_shards_load_to_the_same_model(copy: Path, video_xl: VideoXL) -> None:
    split_into_shards(copy)
    loaded = load_model(copy, device="cpu").state_dict()
    assert loaded.keys() == video_xl.state_dict().keys()
    for name, value in video_xl.state_dict().items():
        assert torch.equal(loaded[name], value), name


def test_an_absent_shard_is_named(copy: Path) -> None:
    split_into_shards(copy)
    (copy / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-00003\.safetensors"):
        load_model(copy, device="cpu")


def test_files_beside_the_index_are_not_read(copy: Path) -> None:
    split_into_shards(copy)
    (copy / "optimizer.safetensors").write_bytes(b"not for us")
    load_model(copy, device="cpu")


def test_missing_parameters_are_named_and_counted(copy: Path) -> None:
    def drop(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if "beacon_k_proj" in name]:
            del weights[name]

    change_weights(copy, drop)
    with pytest.raises(
        ModelError, match=r"lacks 6 of \d+ .*model\.layers\.0\.self_attn\.beacon_k_proj\.bias.*\.\.\."
    ) as error:
        load_model(copy, device="cpu")
    assert "layers.2" not in str(error.value)


def test_parameters_nobody_asked_for_are_left_out(copy: Path, video_xl: VideoXL) -> None:
    change_weights(copy, lambda weights: weights.update({"model.image_newline": torch.ones(64)}))
    assert load_model(copy, device="cpu").state_dict().keys() == video_xl.state_dict().keys()


def test_a_parameter_of_another_shape_is_named_with_both_shapes(copy: Path) -> None:
    change_weights(copy, lambda weights: weights.update({"lm_head.weight": torch.zeros(321, 64)}))
    with pytest.raises(ModelError, match=r"lm_head\.weight.*\(321, 64\).*\(320, 64\)"):
        load_model(copy, device="cpu")


@pytest.mark.parametrize("keep", [0, 4, 5000, -1])
def test_a_damaged_weights_file_is_named(copy: Path, keep: int) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        load_model(copy, device="cpu")


BROKEN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no config": ("config.json", lambda at: (at / "config.json").unlink()),
    "config that is no JSON": ("config.json", lambda at: (at / "config.json").write_text("{")),
    "no weights": ("safetensors", lambda at: (at / "model.safetensors").unlink()),
    "unknown model type": ("mamba", lambda at: change_config(at, model_type="mamba")),
    "no summary tokens": ("neither a Video-XL nor a Video-XL-2", lambda at: change_config(at, enable_beacon=False)),
    "another projector": ("'linear'", lambda at: change_config(at, mm_projector_type="linear")),
    "fewer summary projections": ("beacon_param", lambda at: change_config(at, beacon_param=["q"])),
    "no hidden size": ("hidden_size", lambda at: change_config(at, hidden_size=...)),
    "no tokenizer": ("tokenizer", lambda at: (at / "tokenizer.json").unlink()),
    "unknown tower": ("tiny-clip", lambda at: (at / "vision_config.json").unlink()),
    "unknown kind of tower": (
        "'eye'",
        lambda at: (at / "vision_config.json").write_text(json.dumps({"model_type": "eye"})),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_named_in_one_sentence(what: str, copy: Path) -> None:
    named, breaking = BROKEN[what]
    breaking(copy)
    with pytest.raises(ModelError, match=r"^[^\n]+$") as error:
        load_model(copy, device="cpu")
    assert named in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "vision_config.json"])
def test_the_fingerprint_changes_with_any_file(copy: Path, checkpoint: Path, name: str) -> None:
    assert checkpoint_fingerprint(copy) == checkpoint_fingerprint(checkpoint)
    content = bytearray((copy / name).read_bytes())
    content[-2] ^= 1
    (copy / name).write_bytes(content)
    assert checkpoint_fingerprint(copy) != checkpoint_fingerprint(checkpoint)


def test_the_fingerprint_stays_with_what_kvs_do_not_depend_on(copy: Path) -> None:
    before = checkpoint_fingerprint(copy)
    (copy / "generation_config.json").write_text('{"temperature": 0.3}')
    (copy / "contrastive").mkdir()
    (copy / "contrastive" / "config.json").write_text("{}")
    assert checkpoint_fingerprint(copy) == before


def test_the_fingerprint_changes_with_a_new_or_renamed_file(copy: Path, checkpoint: Path) -> None:
    (copy / "extra.json").write_text("{}")
    added = checkpoint_fingerprint(copy)
    (copy / "extra.json").rename(copy / "other.json")
    assert len({added, checkpoint_fingerprint(copy), checkpoint_fingerprint(checkpoint)}) == 3


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file large enough that its digest is remembered, last changed a minute ago, and an empty cache directory."""
    monkeypatch.setenv("VIDEOX2L_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "big" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"0" * 2_000_000)
    os.utime(file, (time.time() - 60, time.time() - 60))
    return file


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files whose content is read, as they are read."""
    names: list[str] = []
    whole = hashlib.file_digest

    def recording(stream, *arguments):
        names.append(Path(stream.name).name)
        return whole(stream, *arguments)

    monkeypatch.setattr(hashlib, "file_digest", recording)
    return names


def the_record(weights: Path) -> Path:
    """Where the digest of the one large file is kept."""
    (record,) = (weights.parent.parent / "cache" / "digests").iterdir()
    return record


def test_a_large_file_is_read_for_its_fingerprint_once(weights: Path, read_files: list[str]) -> None:
    (weights.parent / "config.json").write_text("{}")
    first = checkpoint_fingerprint(weights.parent)
    assert sorted(read_files) == ["config.json", "model.safetensors"]
    read_files.clear()
    assert checkpoint_fingerprint(weights.parent) == first
    assert read_files == ["config.json"]  # a small one is read every time


def test_other_content_of_the_same_size_and_time_has_another_fingerprint(weights: Path) -> None:
    first = checkpoint_fingerprint(weights.parent)
    times = weights.stat()
    with open(weights, "r+b") as stream:
        stream.seek(1_000_000)
        stream.write(b"1")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert weights.stat().st_mtime_ns == times.st_mtime_ns
    assert checkpoint_fingerprint(weights.parent) != first


def test_a_file_put_in_the_place_of_another_has_a_fingerprint_of_its_own(weights: Path) -> None:
    first = checkpoint_fingerprint(weights.parent)
    other = weights.with_name("other")
    other.write_bytes(b"1" * 2_000_000)
    os.utime(other, ns=(0, weights.stat().st_mtime_ns))
    other.rename(weights)
    assert checkpoint_fingerprint(weights.parent) != first


def test_a_file_changed_just_now_is_read_again(weights: Path, read_files: list[str]) -> None:
    for ahead_s in (0, 60):  # a clock that runs ahead must not make the file look settled
        os.utime(weights, (time.time() + ahead_s, time.time() + ahead_s))
        checkpoint_fingerprint(weights.parent)
        checkpoint_fingerprint(weights.parent)
    assert len(read_files) == 4


def another_digest(record: bytes) -> bytes:
    return json.dumps(json.loads(record) | {"digest": "00" * 64}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: b"",
        lambda record: record[:-20],
        lambda record: b"\xff\xfe",
        lambda record: b"[" * 100_000,
        lambda record: b"{}",
        lambda record: b'{"digest": 7}',
        another_digest,
    ],
)
def test_a_damaged_record_of_a_digest_is_not_believed(weights: Path, damage: Callable[[bytes], bytes]) -> None:
    first = checkpoint_fingerprint(weights.parent)
    record = the_record(weights)
    good = record.read_bytes()
    record.write_bytes(damage(good))
    assert checkpoint_fingerprint(weights.parent) == first
    assert record.read_bytes() == good


def test_the_record_of_another_file_is_not_believed(weights: Path) -> None:
    other = weights.parent.parent / "other" / "model.safetensors"
    other.parent.mkdir()
    other.write_bytes(b"1" * 2_000_000)
    os.utime(other, ns=(0, weights.stat().st_mtime_ns))
    own = checkpoint_fingerprint(other.parent)
    record = the_record(weights)
    first = checkpoint_fingerprint(weights.parent)
    (foreign,) = set(record.parent.iterdir()) - {record}
    shutil.copy(foreign, record)
    assert checkpoint_fingerprint(other.parent) == own
    assert first != own


@pytest.mark.parametrize("where", ["a file", "a directory that is a file's", "a record that is a directory"])
def test_where_no_digest_can_be_kept_the_file_is_read(
    weights: Path, read_files: list[str], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    first = checkpoint_fingerprint(weights.parent)
    record = the_record(weights)
    if where == "a file":
        monkeypatch.setenv("VIDEOX2L_CACHE", str(weights))
    elif where == "a directory that is a file's":
        monkeypatch.setenv("VIDEOX2L_CACHE", str(weights / "cache"))
    else:
        record.unlink()
        record.mkdir()
    read_files.clear()
    for _ in range(2):
        assert checkpoint_fingerprint(weights.parent) == first
    assert len(read_files) == 2
    assert list(record.parent.iterdir()) == [record]  # nothing half written is left


def test_processes_that_read_a_checkpoint_at_once_agree(weights: Path) -> None:
    code = f"from videox2l.models.checkpoint import *; print(checkpoint_fingerprint(Path({str(weights.parent)!r})))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = {process.communicate()[0].strip() for process in running}
    assert printed == {checkpoint_fingerprint(weights.parent)}
    assert json.loads(the_record(weights).read_text())["file"] == os.path.realpath(weights)


def hub_file(snapshot: Path, name: str, content: bytes) -> Path:
    """A file as the hub's cache has it: a link to a blob named by its hash."""
    blob = snapshot.parent.parent / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    (snapshot / name).unlink(missing_ok=True)
    (snapshot / name).symlink_to(blob)
    return snapshot / name


def test_a_file_in_the_hubs_cache_is_known_by_its_name(tmp_path: Path, read_files: list[str]) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    hub_file(snapshot, "config.json", b"{}")
    first = checkpoint_fingerprint(snapshot)
    hub_file(snapshot, "config.json", b"[]")
    assert checkpoint_fingerprint(snapshot) != first
    assert not read_files


def test_a_directory_that_is_called_blobs_is_no_hub_cache(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    file = tmp_path / "blobs" / "config.json"
    file.write_text("{}")
    first = checkpoint_fingerprint(file.parent)
    file.write_text("[]")
    assert checkpoint_fingerprint(file.parent) != first


def test_ids_that_end_an_answer_are_those_of_the_generation_config(copy: Path) -> None:
    assert load_model(copy, device="cpu").eos_ids == (302,)
    (copy / "generation_config.json").write_text('{"eos_token_id": [7, 302]}')
    assert load_model(copy, device="cpu").eos_ids == (7, 302)


def test_tied_embeddings_need_no_head(copy: Path) -> None:
    change_config(copy, tie_word_embeddings=True)
    change_weights(copy, lambda weights: weights.pop("lm_head.weight"))
    model = load_model(copy, device="cpu")
    assert isinstance(model, VideoXL)
    states = torch.randn(2, 64)
    torch.testing.assert_close(model.logits(states), states @ model.model.embed_tokens.weight.T)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs_and_comes_near_full_precision(
    copy: Path, made_clip: Path, engine: VideoX2L, dtype: str
) -> None:
    half = VideoX2L.from_pretrained(copy, device="cpu", dtype=dtype, chunk_frames=2)
    index, full = half.index(made_clip), engine.index(made_clip)
    assert half.model.dtype == index.kv(1, 2).keys.dtype == getattr(torch, dtype)
    for chunk, level in ((0, 2), (1, 32), (5, 2)):
        ours, exact = index.kv(chunk, level).values.float(), full.kv(chunk, level).values
        assert (ours - exact).norm() < 0.1 * exact.norm()
    answer = half.ask(index, "what?", generation=Generation(max_new_tokens=4))
    assert torch.tensor([chunk.score for chunk in answer.chunks]).isfinite().all()


def test_an_unknown_dtype_is_told_which_there_are(copy: Path) -> None:
    with pytest.raises(SettingsError, match=r"'int3'.*float16"):
        load_model(copy, device="cpu", dtype="int3")
