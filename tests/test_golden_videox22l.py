"""The engine gives the published implementation's numbers on its golden data; FACTS.md describes the sections meant."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from chunks import VIDEO, chunk_of
from golden_sets import GoldenSet
from torch import Tensor

from videox2l import FrameArray, Generation, Manual, OneLevel, Sampling, SummaryTokens, VideoIndex, VideoX2L
from videox2l.answering.generation import generate
from videox2l.compression.summary_tokens import SummaryCompression
from videox2l.index.reload import load_cache
from videox2l.kv.cache import KVCache
from videox2l.models.base import MLLM, Turn
from videox2l.models.forward import Forward
from videox2l.models.load import load_model
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.models.video_xl.window import Window
from videox2l.types import KV, ChunkPlace, Frames, VideoOutline, VideoTokens

GOLDEN = GoldenSet("videox22l")
EXPECTED, LAYOUT = GOLDEN.expected, GOLDEN.layout
CASES = ("even", "partial", "carry", "low4", "pixels")
DECODES = [(case, name) for case in CASES for name in EXPECTED["cases"][case]["decode"]]
TOKENS_PER_FRAME = 144
VISION = (
    "pixels/pixel_values_first4",
    "pixels/tower_patch_features_first2",
    "pixels/projected_first2",
    "pixels/image_features_select_layer_minus1_first2",
)
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    return GOLDEN.inputs


class GoldenModel(VideoXL):
    """The tiny checkpoint fed the golden token ids, and, in all cases but `pixels`, the golden visual tokens."""

    golden: dict[str, Tensor]
    features: Tensor | None = None

    def prompt_ids(self, video: VideoOutline) -> Tensor:
        return self.golden["system_ids"][0]

    def question_ids(self, question: str, history: tuple[Turn, ...] = ()) -> Tensor:
        return self.golden["question_ids" if question == "q1" else "question2_ids"][0]

    def visual_tokens(self, frames: Frames, place: ChunkPlace) -> VideoTokens:
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
    def model(self) -> MLLM:
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
        engine = VideoX2L(golden_model, compressor, chunk_frames=sizes, selector=OneLevel())
        if name == "pixels":
            golden_model.features = None
            source = FrameArray(inputs["pixels/frames_uint8"], range(44))
        else:
            golden_model.features = inputs[f"{name}/image_features"]
            source = blank_frames(expected["num_video_tokens"] // TOKENS_PER_FRAME)
        built[name] = Case(name, engine, engine.index(source, Sampling(frames=len(source.timestamps_s))))
    golden_model.features = None
    return built


def layers_by_name(kv: KV, beginning: str, end: str = "") -> dict[str, Tensor]:
    """Keys and values of every layer as the golden set names them."""
    parts = {"k": kv.keys, "v": kv.values}
    return {
        f"{beginning}/layer{layer}{end}/{kind}": part[None, layer]
        for kind, part in parts.items()
        for layer in range(len(part))
    }


def test_every_golden_tensor_is_compared_by_a_test_of_this_file() -> None:
    compared = GOLDEN.names("trace/", *(f"{case}/{part}" for case in CASES for part in ("sys/", "level"))) | set(VISION)
    for case, decode in DECODES:
        compared |= {f"{case}/{decode}/{part}" for part in ("logits", "question_logits", "generated_ids")}
    assert not GOLDEN.names("") - compared
    assert len(GOLDEN.names("")) >= 200


@pytest.mark.parametrize("name", CASES)
def test_system_kvs_equal_the_published_ones(name: str, cases: dict[str, Case]) -> None:
    found = layers_by_name(cases[name].index.prompt, f"{name}/sys")
    GOLDEN.compare(found, GOLDEN.names(f"{name}/sys/"), 6, TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_chunk_kvs_equal_the_published_ones(name: str, cases: dict[str, Case]) -> None:
    """Of the committed set the last layer's, of `pixels` at level 2 their values alone."""
    case = cases[name]
    found: dict[str, Tensor] = {}
    chunks = range(len(case.index.entries))
    for level in case.levels:
        for chunk in chunks:
            found |= layers_by_name(case.index.kv(chunk, level), f"{name}/level{level}", f"/chunk{chunk}")
    kinds = 3 if name == "pixels" else 2 * len(case.levels)
    GOLDEN.compare(found, GOLDEN.names(f"{name}/level"), kinds * len(chunks), TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_chunks_hold_as_many_summaries_as_published(name: str, cases: dict[str, Case]) -> None:
    for level, counts in EXPECTED["cases"][name]["summary_tokens_per_chunk"].items():
        assert [entry.tokens[int(level)] for entry in cases[name].index.entries] == counts


@pytest.mark.parametrize(("name", "decode"), DECODES)
def test_logits_and_greedy_ids_equal_the_published_ones(name: str, decode: str, cases: dict[str, Case]) -> None:
    case, expected = cases[name], EXPECTED["cases"][name]["decode"][decode]
    levels = case.selected(expected["selected_chunk_idx"])
    question = case.model.question_ids(decode.partition("/")[0])
    cache = load_cache(case.model, case.index, levels, room=len(question))  # 9 more tokens make it grow
    assert cache.length == case.index.tokens(levels) == expected["mixed_cache_len"]
    ids = torch.tensor(list(generate(case.model, cache, question, Generation(max_new_tokens=9))))
    assert ids.tolist() == expected["generated_ids"]

    cache = load_cache(case.model, case.index, levels)
    question_logits = case.model.logits(case.model.read(question, cache))
    rows = [question_logits[-1]]
    rows += [case.model.logits(case.model.read(token[None], cache))[0] for token in ids[:-1]]
    found = {"logits": torch.stack(rows), "question_logits": question_logits, "generated_ids": ids}
    found = {f"{name}/{decode}/{part}": tensor for part, tensor in found.items()}
    GOLDEN.compare(found, found, 3, TOLERANCE)


@pytest.mark.parametrize(("name", "decode"), DECODES)
def test_asking_with_named_chunks_answers_with_the_published_ids(
    name: str, decode: str, cases: dict[str, Case]
) -> None:
    case, expected = cases[name], EXPECTED["cases"][name]["decode"][decode]
    chunks = tuple(expected["selected_chunk_idx"])
    stream = case.engine.stream(
        case.index,
        decode.partition("/")[0],
        selector=Manual(chunks, fine_edges=False) if chunks else OneLevel(),
        generation=Generation(max_new_tokens=9),
    )
    assert stream.answer.cache_tokens == expected["mixed_cache_len"]
    assert stream.token_ids == expected["generated_ids"]
    assert stream.answer.full_cache_tokens == 14 + EXPECTED["cases"][name]["num_video_tokens"]


@pytest.mark.parametrize("name", CASES[:4])
def test_windows_are_laid_out_as_published(
    name: str, golden_model: GoldenModel, cases: dict[str, Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The windows that really run: query and memory lengths, positions, and where the summaries stand."""
    ran: dict[KVCache, list[dict]] = {}
    real = VideoXL.compress

    def note(model: VideoXL, raw: Tensor, window: Window, memory: KVCache) -> dict[int, KV]:
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
    assert isinstance(compression, SummaryCompression)
    entries = case.index.entries
    for entry in entries:
        compression.compress(chunk_of(torch.randn(entry.raw_tokens, 64)), entry.chunk.index in (0, len(entries) - 1))
    for level in case.levels:
        published = [step for step in LAYOUT[name][str(level)] if step["kind"] == "video"]
        steps = ran[compression.contexts[level].cache]
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


def test_a_window_traces_as_published(golden_model: GoldenModel, inputs: dict[str, Tensor]) -> None:
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
            embeddings, Forward.behind(compression.contexts[32].cache, len(embeddings)), is_summary=is_summary
        )
    for hook in hooks:
        hook.remove()
    found = {f"trace/even_level32_window1/{name}": states for name, states in seen.items()}
    GOLDEN.compare(found, GOLDEN.names("trace/"), 5, TOLERANCE)


def test_frames_become_the_published_visual_tokens(golden_model: GoldenModel, inputs: dict[str, Tensor]) -> None:
    """Processor, tower, projector, pooling."""
    frames = torch.from_numpy(np.ascontiguousarray(inputs["pixels/frames_uint8"].permute(0, 3, 1, 2)))
    encoder = golden_model.encoder
    images = encoder.processor(list(frames[:4].numpy()), return_tensors="pt", input_data_format="channels_first")
    with torch.no_grad():
        features = encoder.tower(images["pixel_values"][:2])
        stages = (images["pixel_values"], features, encoder.projector(features))
        for name, stage in zip(VISION[:3], stages, strict=True):
            GOLDEN.check(name, stage, TOLERANCE)
        GOLDEN.check("pixels/image_features", encoder(frames).flatten(0, 1), TOLERANCE)


def test_another_vision_layer_can_be_selected(checkpoint: Path, tmp_path: Path, inputs: dict[str, Tensor]) -> None:
    shutil.copytree(checkpoint, tmp_path / "last-layer")
    config = json.loads((checkpoint / "config.json").read_text()) | {"mm_vision_select_layer": -1}
    (tmp_path / "last-layer" / "config.json").write_text(json.dumps(config))
    model = load_model(tmp_path / "last-layer", device="cpu")
    frames = Frames(inputs["pixels/frames_uint8"][:2].permute(0, 3, 1, 2), torch.arange(2, dtype=torch.float64))
    with torch.no_grad():
        tokens = model.visual_tokens(frames, ChunkPlace(VIDEO, 0, 0, True))
    GOLDEN.check(VISION[3], tokens.embeddings, TOLERANCE)


def test_all_summaries_share_one_key_and_value_in_layer_0(cases: dict[str, Case]) -> None:
    """Every summary token enters as the same vector, with no index or position added."""
    index = cases["even"].index
    keys = torch.cat([index.kv(chunk, level).keys[0] for chunk in range(5) for level in index.levels], dim=1)
    values = torch.cat([index.kv(chunk, level).values[0] for chunk in range(5) for level in index.levels], dim=1)
    assert keys.shape[1] > 1000
    for states in (keys, values):
        torch.testing.assert_close(states, states[:, :1].expand_as(states), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("token", [0, 1, 101, 287])
@torch.no_grad()
def test_a_raw_token_reaches_exactly_the_summaries_behind_it(
    token: int, checkpoint: Path, inputs: dict[str, Tensor]
) -> None:
    """In its chunk, summaries from token // ratio on; all of later chunks; not a bit of anything before.

    In fp64, where the faintest trace that a token leaves stands far above rounding.
    """
    model = GoldenModel.from_directory(checkpoint, torch.device("cpu"), torch.float64, "golden")
    model.golden = inputs
    features = inputs["even/image_features"].double()
    touched = features.clone()
    touched[288 + token] += 1.0

    def compress(tokens: Tensor) -> list[dict[int, KV]]:
        settings = SummaryTokens((2, 32), "two_pass", edge_ratio=2)
        compression = settings.start(model, model.prompt_kv(VIDEO))
        return [
            compression.compress(chunk_of(chunk), number in (0, 4)) for number, chunk in enumerate(tokens.split(288))
        ]

    for number, (kvs, touched_kvs) in enumerate(zip(compress(features), compress(touched), strict=True)):
        for level in (2, 32):
            before = torch.stack([kvs[level].keys, kvs[level].values])
            after = torch.stack([touched_kvs[level].keys, touched_kvs[level].values])
            change = (after - before).abs().amax(dim=(0, 2, 4))  # (2, n_l, n_h, n, d_h) -> (n_l, n)
            # its chunk's summaries see it from layer 1 on; later ones through the memory, whose layer 0 is constant
            first_layer = {0: 3, 1: 1}.get(number, 2)
            first_summary = token // level if number == 1 else 0
            assert not change[:first_layer].any()
            assert not change[:, :first_summary].any()
            assert (change[first_layer:, first_summary:] > 1e-10).all()
