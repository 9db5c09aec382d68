"""Checkpoints load as they are published, and a broken one says what is wrong with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from videox2l import Generation, VideoX2L
from videox2l.errors import ModelError, SettingsError
from videox2l.models.checkpoint import checkpoint_fingerprint
from videox2l.models.load import load_model


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
    weight_map = {}
    for shard in range(3):
        file = f"model-{shard + 1:05d}-of-00003.safetensors"
        save_file({name: weights[name] for name in names[shard::3]}, directory / file)
        weight_map |= dict.fromkeys(names[shard::3], file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (directory / "model.safetensors").unlink()


def test_shards_load_to_the_same_model(copy: Path, video_xl) -> None:
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


def test_parameters_nobody_asked_for_are_left_out(copy: Path, video_xl) -> None:
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


def test_the_fingerprint_changes_with_a_new_or_renamed_file(copy: Path, checkpoint: Path) -> None:
    (copy / "generation_config.json").write_text("{}")
    added = checkpoint_fingerprint(copy)
    (copy / "generation_config.json").rename(copy / "other.json")
    assert len({added, checkpoint_fingerprint(copy), checkpoint_fingerprint(checkpoint)}) == 3


def test_ids_that_end_an_answer_are_those_of_the_generation_config(copy: Path) -> None:
    assert load_model(copy, device="cpu").eos_ids == (302,)
    (copy / "generation_config.json").write_text('{"eos_token_id": [7, 302]}')
    assert load_model(copy, device="cpu").eos_ids == (7, 302)


def test_tied_embeddings_need_no_head(copy: Path) -> None:
    change_config(copy, tie_word_embeddings=True)
    change_weights(copy, lambda weights: weights.pop("lm_head.weight"))
    model = load_model(copy, device="cpu")
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
