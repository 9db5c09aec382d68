"""The engine gives the published implementation's numbers on its golden data; FACTS.md describes the sections meant."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from chunks import VIDEO, chunk_of
from safetensors import safe_open
from torch import Tensor

from videox2l import FrameArray, Generation, Sampling, SummaryTokens, VideoIndex, VideoX2L
from videox2l.answering.generation import generate
from videox2l.index.reload import load_cache
from videox2l.kv.cache import KVCache
from videox2l.models.forward import Forward
from videox2l.models.load import load_model
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.models.video_xl.window import Window
from videox2l.oracles.manual import Manual
from videox2l.types import KV, ChunkPlace, Frames, VideoTokens

REDUCED = Path(__file__).parent / "golden" / "videox22l"
WHOLE = Path(__file__).parents[2] / "shared" / "golden" / "videox22l"
GOLDEN = WHOLE if WHOLE.is_dir() else REDUCED
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
LAYOUT = json.loads((GOLDEN / "layout.json").read_text())
CASES = ("even", "partial", "carry", "low4", "pixels")
DECODES = [(case, name) for case in CASES for name in EXPECTED["cases"][case]["decode"]]
TOKENS_PER_FRAME = 144


def tensors(directory: Path, name: str) -> dict[str, Tensor]:
    with safe_open(directory / f"{name}.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    return tensors(GOLDEN, "inputs")


@pytest.fixture(scope="module")
def outputs() -> dict[str, Tensor]:
    return tensors(GOLDEN, "outputs")


def close(actual: Tensor, golden: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(actual, golden, rtol=0, atol=atol)


class GoldenModel(VideoXL):
    """The tiny checkpoint fed the golden token ids, and, in all cases but `pixels`, the golden visual tokens."""

    golden: dict[str, Tensor]
    features: Tensor | None = None

    def prompt_ids(self, video) -> Tensor:
        return self.golden["system_ids"][0]

    def question_ids(self, question: str, history: tuple = ()) -> Tensor:
        return self.golden["question_ids" if question == "q1" else "question2_ids"][0]

    def visual_tokens(self, frames, place) -> VideoTokens:
        if self.features is None:
            return super().visual_tokens(frames, place)
        wanted = frames.timestamps_s.long()[:, None] * TOKENS_PER_FRAME + torch.arange(TOKENS_PER_FRAME)
        return VideoTokens.of_frames(self.features[wanted], place.next_position)


def blank_frames(count: int) -> FrameArray:
    return FrameArray(np.zeros((count, 48, 48, 3), np.uint8), range(count))


@dataclass
class Case:
    """A golden case indexed by the engine as published."""

    name: str
    engine: VideoX2L
    index: VideoIndex

    @property
    def levels(self) -> tuple[int, ...]:
        return self.index.levels

    @property
    def model(self) -> GoldenModel:
        return self.engine.model

    def selected(self, chosen: list[int]) -> tuple[int, ...]:
        expected = EXPECTED["cases"][self.name]
        low, high = expected["low_ratio"], expected["high_ratio"]
        return tuple(low if chunk in chosen else high for chunk in range(len(self.index.entries)))


@pytest.fixture(scope="module")
def golden_model(checkpoint: Path, inputs: dict[str, Tensor]) -> GoldenModel:
    model = GoldenModel.from_directory(checkpoint, torch.device("cpu"), torch.float32, "golden")
    model.golden, model.eos_ids = inputs, ()
    return model


@pytest.fixture(scope="module")
def cases(golden_model: GoldenModel, inputs: dict[str, Tensor]) -> dict[str, Case]:
    built = {}
    for name in CASES:
        expected = EXPECTED["cases"][name]
        levels = tuple(sorted(int(level) for level in expected["summary_tokens_per_chunk"]))
        compressor = SummaryTokens(levels, "two_pass", edge_ratio=2)
        sizes = tuple(tokens // TOKENS_PER_FRAME for tokens in expected["window_sizes_given"])
        engine = VideoX2L(golden_model, compressor, chunk_frames=sizes)
        if name == "pixels":
            golden_model.features = None
            source = FrameArray(inputs["pixels/frames_uint8"], range(44))
        else:
            golden_model.features = inputs[f"{name}/image_features"]
            source = blank_frames(expected["num_video_tokens"] // TOKENS_PER_FRAME)
        built[name] = Case(name, engine, engine.index(source, Sampling(frames=len(source.timestamps_s))))
    golden_model.features = None
    return built


@pytest.mark.parametrize("name", CASES)
def test_system_kvs_equal_the_published_ones(name: str, cases: dict[str, Case], outputs: dict[str, Tensor]) -> None:
    prompt = cases[name].index.prompt
    for layer in range(3):
        close(prompt.keys[None, layer], outputs[f"{name}/sys/layer{layer}/k"])
        close(prompt.values[None, layer], outputs[f"{name}/sys/layer{layer}/v"])


@pytest.mark.parametrize("name", CASES)
def test_chunk_kvs_equal_the_published_ones(name: str, cases: dict[str, Case], outputs: dict[str, Tensor]) -> None:
    case, compared = cases[name], 0
    for level in case.levels:
        for chunk in range(len(case.index.entries)):
            kv = case.index.kv(chunk, level)
            for layer in range(3):
                for kind, ours in (("k", kv.keys), ("v", kv.values)):
                    key = f"{name}/level{level}/layer{layer}/chunk{chunk}/{kind}"
                    if key in outputs:
                        close(ours[None, layer], outputs[key])
                        compared += 1
    assert compared == sum(f"{name}/level" in key for key in outputs)


@pytest.mark.parametrize("name", CASES)
def test_chunks_hold_as_many_summaries_as_published(name: str, cases: dict[str, Case]) -> None:
    for level, counts in EXPECTED["cases"][name]["summary_tokens_per_chunk"].items():
        assert [entry.tokens[int(level)] for entry in cases[name].index.entries] == counts


@pytest.mark.parametrize(("name", "decode"), DECODES)
def test_logits_and_greedy_ids_equal_the_published_ones(
    name: str, decode: str, cases: dict[str, Case], outputs: dict[str, Tensor]
) -> None:
    case, expected = cases[name], EXPECTED["cases"][name]["decode"][decode]
    levels = case.selected(expected["selected_chunk_idx"])
    question = case.model.question_ids(decode.partition("/")[0])
    cache = load_cache(case.model, case.index, levels, room=len(question))  # 9 more tokens make it grow
    assert cache.length == case.index.tokens(levels) == expected["mixed_cache_len"]
    golden_logits, golden_ids = (outputs[f"{name}/{decode}/{key}"] for key in ("logits", "generated_ids"))
    assert list(generate(case.model, cache, question, Generation(max_new_tokens=9))) == expected["generated_ids"]

    cache = load_cache(case.model, case.index, levels)
    question_logits = case.model.logits(case.model.read(question, cache))
    close(question_logits, outputs[f"{name}/{decode}/question_logits"])
    close(question_logits[-1], golden_logits[0])
    for step, token in enumerate(golden_ids[:-1], start=1):
        logits = case.model.logits(case.model.read(token[None], cache))
        close(logits[0], golden_logits[step])


@pytest.mark.parametrize(("name", "decode"), DECODES)
def test_asking_with_named_chunks_answers_with_the_published_ids(
    name: str, decode: str, cases: dict[str, Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case, expected = cases[name], EXPECTED["cases"][name]["decode"][decode]
    answered: list[int] = []

    def note(model, cache, ids, settings) -> Iterator[int]:
        for token in generate(model, cache, ids, settings):
            answered.append(token)
            yield token

    monkeypatch.setattr("videox2l.answering.stream.generate", note)
    answer = case.engine.ask(
        case.index,
        decode.partition("/")[0],
        oracle=Manual(chunks=tuple(expected["selected_chunk_idx"])),
        generation=Generation(max_new_tokens=9),
    )
    assert answered == expected["generated_ids"]
    assert answer.cache_tokens == expected["mixed_cache_len"]
    assert answer.full_cache_tokens == 14 + EXPECTED["cases"][name]["num_video_tokens"]


@pytest.mark.parametrize("name", CASES[:4])
def test_windows_are_laid_out_as_published(
    name: str, golden_model: GoldenModel, cases: dict[str, Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps that really run: query and memory lengths, positions, and where the summaries stand."""
    ran: dict[KVCache, list[dict]] = {}
    real = VideoXL.compress

    def note(model: VideoXL, raw: Tensor, window: Window, memory) -> dict:
        kvs = real(model, raw, window, memory)
        (kv,) = kvs.values()
        positions = memory.next_position + window.positions
        ran.setdefault(memory, []).append(
            {
                "query_len": window.main_tokens + window.extra_tokens,
                "memory_len": memory.length,
                "num_raw": window.raw_tokens,
                "num_summary": len(window.ends),
                "query_positions": [int(positions[0]), int(positions[-1])],
                "summary_offsets_in_window": window.summary_offsets.tolist(),
            }
        )
        if window.ends:
            assert kv.positions.tolist() == [memory.length + offset for offset in window.summary_offsets.tolist()]
        return kvs

    monkeypatch.setattr(VideoXL, "compress", note)
    case = cases[name]
    compression = case.engine.compressor.start(golden_model, golden_model.prompt_kv(VIDEO))
    entries = case.index.entries
    for entry in entries:
        compression.compress(chunk_of(torch.randn(entry.raw_tokens, 64)), entry.chunk.index in (0, len(entries) - 1))
    ((system,),) = [steps for memory, steps in ran.items() if memory not in compression.caches.values()]
    for level in case.levels:
        published = [step for step in LAYOUT[name][str(level)] if step["kind"] != "trailing_text"]
        steps = [system, *ran[compression.caches[level]]]
        assert len(steps) == len(published)
        for step, published_step in zip(steps, published, strict=True):
            assert step == {key: published_step[key] for key in step}


@pytest.mark.parametrize("check", EXPECTED["window_rule_checks"], ids=str)
def test_explicit_windows_follow_the_published_rule(check: dict, golden_model: GoldenModel) -> None:
    """The published code's windows are 10 frames long after the ones it was given: a tuple of sizes says so."""
    if "frames" in check:
        frames, given = check["frames"], [check["chunk_size_frames"]]
    else:
        frames = check["num_video_tokens"] // TOKENS_PER_FRAME
        given = [tokens // TOKENS_PER_FRAME for tokens in check["window_sizes_given"]]
    golden_model.features = torch.randn(frames * TOKENS_PER_FRAME, 64, generator=torch.Generator().manual_seed(0))
    engine = VideoX2L(golden_model, SummaryTokens((2, 32), "two_pass", edge_ratio=2), chunk_frames=(*given, 10))
    index = engine.index(blank_frames(frames), Sampling(frames=frames))
    golden_model.features = None
    for level, counts in check["summary_tokens_per_chunk"].items():
        assert [entry.tokens[int(level)] for entry in index.entries] == counts
    if check.get("note") == "levels bitwise equal":
        for chunk in range(len(index.entries)):
            assert torch.equal(index.kv(chunk, 2).keys, index.kv(chunk, 32).keys)
            assert torch.equal(index.kv(chunk, 2).values, index.kv(chunk, 32).values)


def test_a_window_traces_as_published(
    golden_model: GoldenModel, inputs: dict[str, Tensor], outputs: dict[str, Tensor]
) -> None:
    """Case even, level 32, second window, layer by layer."""
    features = inputs["even/image_features"]
    compression = SummaryTokens((32,), "two_pass", edge_ratio=2).start(golden_model, golden_model.prompt_kv(VIDEO))
    compression.compress(chunk_of(features[:288]), is_edge=True)
    window = Window(288, 32, tuple(range(32, 289, 32)), {})
    embeddings = torch.empty(window.main_tokens, 64)
    embeddings[window.raw_offsets] = features[288:576]
    embeddings[window.summary_offsets] = golden_model.summary_inputs(features[288:576], window.ends, 32)
    is_summary = torch.zeros(window.main_tokens, dtype=torch.bool)
    is_summary[window.summary_offsets] = True

    seen: dict[str, Tensor] = {"input_embeds": embeddings}
    layers = golden_model.model.layers
    after = [
        layers[1].input_layernorm,
        layers[2].input_layernorm,
        golden_model.model.norm,
    ]  # what takes a layer's output
    hooks = [
        module.register_forward_pre_hook(
            partial(lambda name, _, args: seen.update({name: args[0].flatten(0, -2)}), f"after_layer{layer}")
        )
        for layer, module in enumerate(after)
    ]
    with torch.no_grad():
        seen["after_final_norm"] = golden_model.model(
            embeddings, Forward.behind(compression.caches[32], len(embeddings)), is_summary=is_summary
        )
    for hook in hooks:
        hook.remove()
    golden = {key.rpartition("/")[2]: value for key, value in outputs.items() if key.startswith("trace/")}
    assert golden.keys() == seen.keys()
    for name, value in golden.items():
        close(seen[name], value.squeeze(0))


def test_frames_become_the_published_visual_tokens(
    golden_model: GoldenModel, inputs: dict[str, Tensor], outputs: dict[str, Tensor]
) -> None:
    """Processor, tower, projector, pooling: each step as far as the golden set at hand has it."""
    frames = torch.from_numpy(np.ascontiguousarray(inputs["pixels/frames_uint8"].permute(0, 3, 1, 2)))
    encoder = golden_model.encoder
    images = encoder.processor(list(frames[:4].numpy()), return_tensors="pt", input_data_format="channels_first")
    close(images["pixel_values"], outputs["pixels/pixel_values_first4"], 1e-6)
    with torch.no_grad():
        features = encoder.tower(images["pixel_values"][:2])
        if "pixels/tower_patch_features_first2" in outputs:
            close(features, outputs["pixels/tower_patch_features_first2"], 3e-5)
            close(encoder.projector(features), outputs["pixels/projected_first2"], 3e-5)
        if "pixels/image_features" in inputs:
            close(encoder(frames).flatten(0, 1), inputs["pixels/image_features"], 3e-5)


def test_another_vision_layer_can_be_selected(
    checkpoint: Path, tmp_path: Path, inputs: dict[str, Tensor], outputs: dict[str, Tensor]
) -> None:
    shutil.copytree(checkpoint, tmp_path / "last-layer")
    config = json.loads((checkpoint / "config.json").read_text()) | {"mm_vision_select_layer": -1}
    (tmp_path / "last-layer" / "config.json").write_text(json.dumps(config))
    model = load_model(tmp_path / "last-layer", device="cpu")
    frames = Frames(inputs["pixels/frames_uint8"][:2].permute(0, 3, 1, 2), torch.arange(2, dtype=torch.float64))
    golden = outputs["pixels/image_features_select_layer_minus1_first2"]
    with torch.no_grad():
        close(model.visual_tokens(frames, ChunkPlace(VIDEO, 0, 0, True)).embeddings, golden, 3e-5)


def test_all_summaries_share_one_key_and_value_in_layer_0(cases: dict[str, Case]) -> None:
    """Section 6: every summary token enters as the same vector, with no index or position added."""
    index = cases["even"].index
    keys = torch.cat([index.kv(chunk, level).keys[0] for chunk in range(5) for level in index.levels], dim=1)
    values = torch.cat([index.kv(chunk, level).values[0] for chunk in range(5) for level in index.levels], dim=1)
    assert keys.shape[1] > 1000
    close(keys, keys[:, :1].expand_as(keys), 1e-5)
    close(values, values[:, :1].expand_as(values), 1e-5)


@pytest.mark.parametrize("token", [0, 1, 101, 287])
def test_a_raw_token_reaches_exactly_the_summaries_behind_it(
    token: int, golden_model: GoldenModel, inputs: dict[str, Tensor]
) -> None:
    """Section 8: in its chunk, summaries from token // ratio on; all later chunks; nothing before."""
    features = inputs["even/image_features"]
    touched = features.clone()
    touched[288 + token] += 1.0

    def compress(tokens: Tensor) -> list[dict[int, KV]]:
        settings = SummaryTokens((2, 32), "two_pass", edge_ratio=2)
        compression = settings.start(golden_model, golden_model.prompt_kv(VIDEO))
        return [
            compression.compress(chunk_of(chunk), number in (0, 4)) for number, chunk in enumerate(tokens.split(288))
        ]

    for number, (kvs, touched_kvs) in enumerate(zip(compress(features), compress(touched), strict=True)):
        for level in (2, 32):
            before = torch.stack([kvs[level].keys[1:], kvs[level].values[1:]])  # from layer 1 on
            after = torch.stack([touched_kvs[level].keys[1:], touched_kvs[level].values[1:]])
            changed = (before != after).any(dim=-1)  # (2, n_l - 1, n_h, n)
            if number == 0:
                assert torch.equal(kvs[level].keys, touched_kvs[level].keys)
                assert torch.equal(kvs[level].values, touched_kvs[level].values)
            elif number == 1:
                assert not changed[..., : token // level].any()
                assert changed.any(dim=2)[..., token // level :].all()
            else:  # reached through the memory alone, whose layer 0 is constant: one layer deeper
                assert not changed[:, 0].any()
                assert changed[:, 1].any(dim=1).float().mean() > 0.99  # a difference may round away
