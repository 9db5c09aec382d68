"""Video-XL-2 in the house: from a checkpoint directory and an mp4 to an answer."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import save_video_xl_2
from safetensors.torch import load_file, save_file

from videox2l import Manual, Sampling, TopK, VideoX2L
from videox2l.answering.generation import Generation
from videox2l.cli import main
from videox2l.compression.group_pooling import GroupPooling
from videox2l.compression.pool import Pool
from videox2l.errors import ModelError, SettingsError
from videox2l.index.builder import IndexProgress
from videox2l.index.reload import load_cache
from videox2l.models.base import Turn
from videox2l.models.load import load_model
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.models.video_xl_2.adapter import VideoXL2
from videox2l.models.video_xl_2.config import VideoXL2Config
from videox2l.models.video_xl_2.timestamps import clock_times_to_seconds, time_text
from videox2l.models.video_xl_2.vision import SIGLIP_SO400M_384
from videox2l.store import DiskStore

GOLDEN = Path(__file__).parent / "golden" / "videoxl2"
QUESTION = "What happens at 00:05?"
SHORT = Generation(max_new_tokens=6)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "checkpoint").mkdir()
    return save_video_xl_2(GOLDEN, tmp_path / "checkpoint")


@pytest.fixture
def engine(video_xl_2: VideoXL2) -> VideoX2L:
    """Chunks of one group of four frames."""
    return VideoX2L(video_xl_2, chunk_frames=4, selector=TopK(1))


def test_the_registry_tells_the_two_families_of_one_model_type_apart(video_xl, video_xl_2):
    assert isinstance(video_xl, VideoXL)
    assert isinstance(video_xl_2, VideoXL2)
    assert isinstance(VideoX2L(video_xl_2).compressor, GroupPooling)
    assert VideoX2L(video_xl_2).chunk_frames == 16


def test_a_video_is_indexed_and_asked_about(engine, made_clip):
    index = engine.index(made_clip, Sampling(frames=14))
    texts = [7, 7, 7, 8]  # "Time 8.0s:" has 7 tokens, "Time 11.0s:" has 8
    assert [entry.raw_tokens for entry in index.entries] == [text + 144 for text in texts]
    assert [entry.tokens[4] for entry in index.entries] == [43, 43, 43, 44]
    answer = engine.ask(index, QUESTION, selector=Manual((2,)), generation=SHORT)
    assert [chunk.level for chunk in answer.chunks] == [1, 4, 1, 1]
    assert answer.cache_tokens == len(index.prompt) + 2 * 151 + 43 + 152
    assert answer.text


@pytest.mark.parametrize("oracle", ["attention", "qk", "probe", "cascade", "random"])
def test_every_oracle_scores_its_chunks(engine, made_clip, oracle):
    index = engine.index(made_clip, Sampling(frames=12))
    answer = engine.ask(index, QUESTION, oracle=oracle, generation=SHORT)
    assert len(answer.chunks) == 3
    assert torch.tensor([chunk.score for chunk in answer.chunks]).std() > 0  # nor is any of them NaN


@pytest.mark.parametrize(
    "compressor",
    [
        GroupPooling((1,), previous_blocks=None),
        Pool((1,), context="full"),
        Pool((1,), context="full", positions="original"),
    ],
    ids=str,
)
@pytest.mark.parametrize("chunk_frames", [4, 8, 16])
@torch.no_grad()
def test_with_every_kv_kept_it_is_the_models_own_forward(engine, made_clip, compressor, chunk_frames):
    whole = replace(engine, compressor=GroupPooling((1,), previous_blocks=None), chunk_frames=16)
    cut = replace(engine, compressor=compressor, chunk_frames=chunk_frames)
    ids = engine.model.question_ids(QUESTION)
    logits = []
    for each in (whole, cut):
        index = each.index(made_clip, Sampling(frames=14))
        cache = load_cache(each.model, index, (1,) * len(index.entries))
        logits.append(each.model.logits(each.model.read(ids, cache)))
    torch.testing.assert_close(logits[1], logits[0], atol=1e-4, rtol=0)


def test_an_interrupted_index_goes_on_to_the_same_bytes(engine, made_clip, tmp_path):
    def interrupt(progress):
        if progress.chunks == 2:
            raise KeyboardInterrupt

    whole, resumed = (replace(engine, store=DiskStore(tmp_path / name)) for name in ("whole", "resumed"))
    expected = whole.index(made_clip)
    with pytest.raises(KeyboardInterrupt):
        resumed.index(made_clip, progress=interrupt)
    seen: list[IndexProgress] = []
    index = resumed.index(made_clip, progress=seen.append)
    assert [now.chunks for now in seen] == [2, 3]
    assert index.entries == expected.entries
    files = [
        {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*.*")}
        for root in (tmp_path / "whole", tmp_path / "resumed")
    ]
    assert files[0] == files[1]


def test_the_command_line_asks_a_checkpoint_directory(directory, made_clip, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("VIDEOX2L_CACHE", str(tmp_path / "cache"))
    arguments = ["ask", str(made_clip), QUESTION, "--model", str(directory), "--max-new-tokens", "4", "--json"]
    monkeypatch.setattr(sys, "argv", ["videox2l", *arguments, "--chunk-frames", "4", "--levels", "1,8", "--k", "0"])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert not exit_info.value.code
    answer = json.loads(capsys.readouterr().out)
    assert [chunk["level"] for chunk in answer["chunks"]] == [1, 8, 1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_comes_near_full_precision(engine, directory, made_clip, dtype):
    half = VideoX2L.from_pretrained(directory, device="cpu", dtype=dtype, chunk_frames=4)
    index, full = (each.index(made_clip, Sampling(frames=12)) for each in (half, engine))
    assert index.kv(1, 4).keys.dtype == getattr(torch, dtype)
    for chunk, level in ((0, 1), (1, 4), (2, 1)):
        ours, exact = index.kv(chunk, level).values.float(), full.kv(chunk, level).values
        assert (ours - exact).norm() < 0.1 * exact.norm()
    answer = half.ask(index, QUESTION, generation=SHORT)
    assert torch.tensor([chunk.score for chunk in answer.chunks]).isfinite().all()


def test_a_conversation_keeps_its_turns(video_xl_2):
    text = video_xl_2.tokenizer.decode(video_xl_2.question_ids("And then?", (Turn("At 01:30?", "A dog."),)))
    assert text == (
        "\nAt 90 seconds?<|im_end|>\n<|im_start|>assistant\nA dog.<|im_end|>\n"
        "<|im_start|>user\nAnd then?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_times_are_written_as_published():
    assert [time_text(second) for second in (0.0, 60.06, 359.96)] == ["Time 0.0s:", "Time 60.1s:", "Time 360.0s:"]
    assert clock_times_to_seconds("from 01:05 to 1:00:10, 4:3") == "from 65 seconds to 3610 seconds, 4:3"


def test_the_published_sizes_have_the_published_shapes(video_xl_2):
    config = VideoXL2Config(152064, 3584, 18944, 28, 28, 4)
    with torch.device("meta"):
        model = VideoXL2(config, SIGLIP_SO400M_384, video_xl_2.tokenizer, name="published", fingerprint="")
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tower = "model.vision_tower.vision_tower.vision_model."
    expected = {
        "lm_head.weight": (152064, 3584),
        "model.layers.27.self_attn.k_proj.bias": (512,),
        "model.mm_projector.0.weight": (3584, 1152),
        "model.sae.temporal_encoding": (4, 1152),
        "model.sae.encoder.3.proj_out.weight": (1152, 1152, 1, 1, 1),
        "model.sae.encoder.4.relative_position_k.embeddings_table": (129, 1152),
        "model.sae.encoder.5.conv.weight": (1152, 1152, 3, 3, 3),
        f"{tower}embeddings.position_embedding.weight": (729, 1152),
        f"{tower}encoder.layers.25.mlp.fc1.weight": (4304, 1152),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    assert not any(f"{tower}encoder.layers.26" in name or "post_layernorm" in name for name in shapes)


def test_chunks_that_cut_groups_are_refused(video_xl_2):
    with pytest.raises(SettingsError, match="multiple of 4"):
        VideoX2L(video_xl_2, chunk_frames=(4, 10))


def edit_config(directory: Path, name: str = "config.json", **changes: Any) -> None:
    file = directory / name
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def drop_temporal_module(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    save_file({name: w for name, w in weights.items() if ".sae." not in name}, directory / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (drop_temporal_module, "model.sae"),
        (lambda at: edit_config(at, mm_projector_type="linear"), "mm_projector_type"),
        (lambda at: edit_config(at, use_sliding_window=True), "use_sliding_window"),
        (lambda at: edit_config(at, mm_hidden_size=1152), "mm_hidden_size"),
        (lambda at: edit_config(at, "vision_config.json", model_type="clip_vision_model"), "clip_vision_model"),
        (lambda at: (at / "vision_config.json").unlink(), "64"),
    ],
)
def test_a_checkpoint_of_another_make_is_refused(directory, damage, said):
    damage(directory)
    with pytest.raises(ModelError, match=said):
        load_model(directory, device="cpu")
