"""The published Video-XL-2 code's numbers: see golden/videoxl2/README.md for where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from checkpoints import save_video_xl_2
from golden_sets import GoldenSet
from torch import Tensor

from videox2l.compression.group_pooling import GroupPooling
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.models.load import load_model
from videox2l.models.video_xl_2.temporal import frame_groups
from videox2l.models.video_xl_2.visibility import TEXT, block_visibility
from videox2l.models.video_xl_2.vision import feature_maps, pixel_values
from videox2l.types import ChunkPlace, Frames, VideoOutline, VideoTokens, concatenate

GOLDEN = GoldenSet("videoxl2")
EXPECTED, LAYOUT = GOLDEN.expected["cases"], GOLDEN.layout["cases"]
RUNS = [run for case in EXPECTED.values() for run in case]
MASKS = ("mask_bits", "visible_count_per_row")
TOLERANCE, TEMPORAL_TOLERANCE = 1e-4, 2e-4

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, Tensor]) -> Iterator[MLLM]:
    model = load_model(save_video_xl_2(GOLDEN.directory, tmp_path_factory.mktemp("golden-video-xl-2")), device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "prompt_ids", lambda video: inputs["system_ids"][0])
        yield model


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    return GOLDEN.inputs


@pytest.fixture(scope="module")
def cases(model: MLLM, inputs: dict[str, Tensor]) -> dict[str, VideoTokens]:
    """Every case's video part as it enters the decoder, encoded once."""
    return {case: encode(model, inputs["frames_uint8"], layout) for case, layout in LAYOUT.items()}


@pytest.fixture
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def encode(model, frames_uint8, layout):
    times = [index * layout["frame_indices_step"] / layout["fps"] for index in range(layout["num_frames"])]
    pixels = frames_uint8[: len(times)].permute(0, 3, 1, 2)
    place = ChunkPlace(VideoOutline(len(times), times[-1]), 0, layout["visual_start"], True)
    return model.visual_tokens(Frames(pixels, torch.tensor(times, dtype=torch.float64)), place)


def split(tokens, groups, layout):
    """The video part in runs of so many groups."""
    ends = [end - layout["visual_start"] for end in layout["group_end"]]
    bounds = [0, *ends[groups - 1 : -1 : groups], ends[-1]]
    for start, end in pairwise(bounds):
        parts = (tokens.embeddings, tokens.positions, tokens.is_text, tokens.frame)
        yield VideoTokens(*(part[start:end] for part in parts))


def prefill(model, tokens, layout, settings, chunk_groups):
    """Compress a case chunk by chunk; the prompt's KVs and every chunk's, at every level."""
    prompt = model.prompt_kv(VideoOutline(layout["num_frames"], 1.0))
    compression = settings.start(model, prompt)
    chunks = list(split(tokens, chunk_groups, layout))
    kvs = [compression.compress(chunk, index in (0, len(chunks) - 1)) for index, chunk in enumerate(chunks)]
    return prompt, kvs


def answer(model, parts, question_ids, length=8):
    """Logits of every suffix token, of the last one and each new one, and the ids, greedy, never stopped."""
    cache = model.new_cache(64)
    for part in parts:
        cache.append(part)
    states = model.read(question_ids, cache)
    question = model.logits(states)
    rows = [question[-1]]
    for _ in range(length - 1):
        rows.append(model.logits(model.read(rows[-1].argmax()[None], cache))[0])
    logits = torch.stack(rows)
    return question, logits, logits.argmax(-1)


def dense_blocks(units, size, blocks):
    """Which decode blocks the published code keeps dense for the units (8 frames) an oracle selected."""
    if not units:
        return set(range(blocks))
    return {0, blocks - 1} | {int(unit // (size / 2)) for unit in units}


def layers_by_name(kv, prefix):
    names = {"k": kv.keys, "v": kv.values}
    return {f"{prefix}/layer{layer}/{k}": part[layer] for k, part in names.items() for layer in range(len(part))}


def prefill_of(run):
    """What the caches prefilled with a run's settings are called; other runs of its case may share them."""
    case = run.split("/")[0]
    about = EXPECTED[case][run]
    return f"{case}/prefill_b{about['prefill_block']}_p{about['prev_blocks']}" if "prefill_block" in about else None


def answer_names(run):
    """What the golden set has of a run: logits, ids, caches."""
    prefill = prefill_of(run)
    names = GOLDEN.names(f"{run}/", *([f"{prefill}/"] if prefill else []))
    return {name for name in names if not name.endswith(MASKS)}


def test_every_golden_tensor_is_compared_by_a_test_of_this_file():
    compared = GOLDEN.names("vision/", "B/trace") | {f"{case}/visual_tokens" for case in LAYOUT}
    for run in RUNS:
        compared |= answer_names(run)
        compared |= {f"{run}/{mask}" for mask in MASKS if "/chunk_" in run}
    assert not GOLDEN.names("") - compared
    assert len(GOLDEN.names("")) >= 44


def test_pixels_features_and_maps(model, inputs):
    pixels = pixel_values(inputs["frames_uint8"][:2].permute(0, 3, 1, 2), 384)
    features = model.model.vision_tower.vision_tower(pixels)
    found = {
        "vision/pixel_values_first2_every4th": pixels[:, :, ::4, ::4],
        "vision/tower_first2": features,
        "vision/resized_first1": feature_maps(features[:1]),
    }
    GOLDEN.compare(found, found, 3, TOLERANCE)


def test_temporal_module_stage_by_stage(model, inputs):
    maps = model.model.vision_tower(inputs["frames_uint8"][:4].permute(0, 3, 1, 2))
    sae = model.model.sae
    states = frame_groups(maps) + sae.temporal_encoding.T[:, :, None, None]
    found = {"vision/group0/dts_input": states}
    for number, stage in enumerate(sae.encoder):
        states = stage(states)
        found[f"vision/group0/dts_after{number}"] = states
    GOLDEN.compare(found, GOLDEN.names("vision/group0/dts_"), 4, TEMPORAL_TOLERANCE)
    torch.testing.assert_close(sae(frame_groups(maps)), states[:, :, 0], rtol=0, atol=TEMPORAL_TOLERANCE)
    GOLDEN.check("vision/group0/projected", model.model.mm_projector(states.flatten(2).transpose(1, 2)), TOLERANCE)
    GOLDEN.check("vision/group0/tokens", model.group_tokens(maps)[0], TOLERANCE)


@pytest.mark.parametrize("case", LAYOUT)
def test_time_texts_and_visual_tokens(case, model, inputs, cases):
    tokens, layout = cases[case], LAYOUT[case]
    placeholder = model.config.visual_placeholder_id
    ids = inputs[f"{case}/time_ids"]
    assert torch.equal(tokens.is_text, ids != placeholder)
    assert torch.equal(tokens.embeddings[tokens.is_text], model.embed(ids[ids != placeholder]))
    assert tokens.frame.bincount().cumsum(0).tolist() == [end - layout["visual_start"] for end in layout["group_end"]]
    assert tokens.positions.tolist() == list(range(layout["visual_start"], layout["visual_end"]))
    GOLDEN.check(f"{case}/visual_tokens", tokens.visual, TOLERANCE)


@pytest.mark.parametrize("run", RUNS)
def test_answers_and_caches(run, model, inputs, cases):
    """Prefill runs in chunks of the decode blocks' size, whether or not the prefill blocks align with them."""
    case, _, question = run.split("/")
    about, layout = EXPECTED[case][run], LAYOUT[case]
    ids = inputs[{"q1": "question1_ids", "q2": "question2_ids"}[question]][0]
    size, step, units = about.get("selected_chunk_size", 4), about.get("compression", 1), about.get("selected_units")
    settings = GroupPooling(
        levels=(1, step) if step > 1 else (1,),
        block_groups=about.get("prefill_block", 1),
        previous_blocks=about.get("prev_blocks"),
    )
    prompt, chunks = prefill(model, cases[case], layout, settings, size)
    dense = dense_blocks(units, size, len(chunks))
    parts = [prompt, *(kvs[1 if index in dense else step] for index, kvs in enumerate(chunks))]
    if "dense_blocks" in about:
        assert [block + 1 for block in sorted(dense) if block < len(chunks)] == about["dense_blocks"]
        assert sum(map(len, parts)) == about["mixed_cache_len"]

    suffix_logits, logits, generated = answer(model, parts, ids)
    assert generated.tolist() == about["generated_ids"]
    prefilled, mixed = concatenate([prompt, *(kvs[1] for kvs in chunks)]), concatenate(parts)
    found = {f"{run}/logits": logits, f"{run}/question_logits": suffix_logits, f"{run}/generated_ids": generated}
    found |= layers_by_name(mixed, f"{run}/mixed")
    if prefilled_name := prefill_of(run):
        found |= layers_by_name(prefilled, prefilled_name)
    else:
        found[f"{run}/last_layer_k_rotated"] = model.rotate(prefilled.keys[-1], prefilled.positions)
    names = answer_names(run)
    assert f"{run}/logits" in names
    GOLDEN.compare(found, names, 1, TOLERANCE)


@pytest.mark.parametrize("run", [run for run in RUNS if "/chunk_" in run])
@pytest.mark.parametrize("run_tokens", [None, 100])
def test_visibility_is_the_published_mask(run, run_tokens):
    """Whether the sequence runs in one go or in any pieces."""
    case = run.split("/")[0]
    about, layout = EXPECTED[case][run], LAYOUT[case]
    blocks = torch.full((about["sequence_length"],), TEXT)
    spans = zip(layout["group_visual_start"], layout["group_end"], strict=True)
    for group, (start, end) in enumerate(spans):
        blocks[start:end] = group // about["prefill_block"]
    mask = torch.zeros(len(blocks), len(blocks), dtype=torch.bool)
    for start in range(0, len(blocks), run_tokens or len(blocks)):
        end = min(start + (run_tokens or len(blocks)), len(blocks))
        for sight in block_visibility(blocks[:end], end - start, about["prev_blocks"]):
            assert isinstance(sight.rows, Tensor) and sight.mask is not None
            mask[start + sight.rows[:, None], sight.columns] = sight.mask
    assert int(mask.sum()) == about["visible_pairs"]
    found = {
        f"{run}/visible_count_per_row": mask.sum(1),
        f"{run}/mask_bits": torch.from_numpy(np.packbits(mask.numpy(), axis=1)),
    }
    GOLDEN.compare(found, {name for name in GOLDEN.names(f"{run}/") if name.endswith(MASKS)}, 0, tolerance=0)


def test_states_of_every_layer(model, inputs, cases):
    """The whole sequence of case B in one forward, question included, as the published code runs it."""
    tokens = cases["B"]
    question = inputs["question1_ids"][0]
    prompt_ids = inputs["system_ids"][0]
    hidden = torch.cat([model.embed(prompt_ids), tokens.embeddings, model.embed(question)])
    video_blocks = torch.where(tokens.is_text, TEXT, tokens.frame // 3)
    blocks = torch.cat([torch.full_like(prompt_ids, TEXT), video_blocks, torch.full_like(question, TEXT)])
    states = {"input_embeds": hidden}
    norms = [layer.input_layernorm for layer in model.model.layers[1:]] + [model.model.norm]
    hooks = [
        norm.register_forward_pre_hook(
            lambda _, args, layer=layer: states.update({f"after_layer{layer}": args[0].flatten(0, -2)})
        )
        for layer, norm in enumerate(norms)
    ]
    visible = block_visibility(blocks, len(blocks), 1)
    forward = Forward.behind(model.new_cache(len(blocks)), len(blocks), visible=visible)
    states["after_final_norm"] = model.run(hidden, forward)
    for hook in hooks:
        hook.remove()
    found = {f"B/trace_chunk_b3_p1/{name}": state for name, state in states.items()}
    GOLDEN.compare(found, GOLDEN.names("B/trace_"), 5, TOLERANCE)
