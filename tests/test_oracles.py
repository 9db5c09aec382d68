"""Every oracle's scores equal the same quantity worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoModel,
    AutoProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)

from videox2l import SummaryTokens, VideoIndex, VideoX2L
from videox2l.errors import ModelError, SettingsError, StoreError
from videox2l.index.reload import chunk_spans, load_cache
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.oracles.attention import Attention
from videox2l.oracles.contrastive import Contrastive
from videox2l.oracles.manual import Manual
from videox2l.oracles.probe import Probe
from videox2l.oracles.qk import QueryKey
from videox2l.oracles.random import Random
from videox2l.oracles.registry import ORACLES, OracleSettings, make_oracle
from videox2l.oracles.uniform import Uniform
from videox2l.store import RamStore
from videox2l.tracks.dual_encoder import HubDualEncoder
from videox2l.types import Frames
from videox2l.video import open_video

QUESTION = "What is it?"


@pytest.fixture
def index(engine: VideoX2L, made_clip: Path) -> VideoIndex:
    return engine.index(made_clip)


def eager(model: VideoXL, index: VideoIndex, levels: tuple[int, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """The question behind a cache by plain matrix products: each layer's attention (heads, n, m) and queries."""
    cache = load_cache(model, index, levels)
    ids = model.question_ids(QUESTION)
    positions = torch.arange(cache.length, cache.length + len(ids))
    hidden = model.embed(ids)
    hidden_keys = torch.arange(cache.length + len(ids)) > positions[:, None]
    attention, queries = [], []
    for number, layer in enumerate(model.model.layers):
        projections, normed = layer.self_attn, layer.input_layernorm(hidden)
        query, key, value = (
            project(normed).unflatten(1, (-1, 16)).transpose(0, 1)
            for project in (projections.q_proj, projections.k_proj, projections.v_proj)
        )
        keys = torch.cat([cache.keys[number, :, : cache.length], model.rotate(key, positions)], dim=1)
        values = torch.cat([cache.values[number, :, : cache.length], value], dim=1)
        logits = model.rotate(query, positions) @ keys.repeat_interleave(2, 0).transpose(1, 2) / 4
        weights = logits.masked_fill(hidden_keys, float("-inf")).softmax(-1)
        attended = (weights @ values.repeat_interleave(2, 0)).transpose(0, 1).flatten(1)
        hidden = layer.finish(hidden, attended)
        attention.append(weights)
        queries.append(query)
    return attention, queries


# attention


@pytest.mark.parametrize("level", [None, 2])
@pytest.mark.parametrize("tokens", ["last", "all"])
@torch.no_grad()
def test_attention_is_the_softmax_of_an_eager_forward(engine: VideoX2L, index: VideoIndex, tokens: str, level) -> None:
    levels = (level or 32,) * 6
    attention, _ = eager(engine.model, index, levels)
    weights = torch.stack(attention).mean(dim=(0, 1))  # (n, m)
    weights = weights[-1] if tokens == "last" else weights.mean(dim=0)
    expected = torch.stack([weights[span].mean() for span in chunk_spans(index, levels)])
    scores = Attention(tokens, level).score(engine.model, index, QUESTION)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-7)
    assert scores.argsort().tolist() == expected.argsort().tolist()
    assert scores.std() > 0


# qk


@torch.no_grad()
def test_qk_is_the_cosine_of_mean_query_and_mean_key_in_each_layer(engine: VideoX2L, index: VideoIndex) -> None:
    """The queries come from the question right behind the prompt, and nothing is rotated."""
    alone = replace(index, entries=())
    _, queries = eager(engine.model, alone, ())
    expected = torch.zeros(6)
    for chunk in range(6):
        keys = index.kv(chunk, 32).keys.mean(dim=2)  # (n_l, n_h, d_h)
        for layer, query in enumerate(queries):
            grouped = query.mean(dim=1).unflatten(0, (2, 2)).mean(dim=1)  # (n_h, d_h)
            expected[chunk] += F.cosine_similarity(grouped.flatten(), keys[layer].flatten(), dim=0) / len(queries)
    scores = QueryKey().score(engine.model, index, QUESTION)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    assert scores.std() > 0


# probe


@pytest.mark.parametrize("batch_tokens", [1, 400, 100_000])
@torch.no_grad()
def test_probe_is_the_certainty_with_one_chunk_alone(engine: VideoX2L, index: VideoIndex, batch_tokens: int) -> None:
    model, expected = engine.model, []
    ids = model.question_ids(QUESTION)
    for entry in index.entries:
        cache = model.new_cache(0)
        cache.append(index.prompt)
        cache.append(index.kv(entry.chunk.index, 2))
        logits = model.logits(model.read(ids, cache)[-1:])
        expected.append(logits.softmax(-1).max())
    scores = Probe(batch_tokens=batch_tokens).score(model, index, QUESTION)
    torch.testing.assert_close(scores, torch.stack(expected), rtol=0, atol=1e-4)


# random, uniform, manual


def test_random_is_fixed_by_seed_video_and_question(engine: VideoX2L, index: VideoIndex) -> None:
    def scores(seed: int, of: VideoIndex, question: str) -> list[float]:
        return Random(seed).score(engine.model, of, question).tolist()

    other = replace(index, spec=replace(index.spec, model="another"))
    drawn = [scores(0, index, "a"), scores(1, index, "a"), scores(0, other, "a"), scores(0, index, "b")]
    assert len({tuple(row) for row in drawn}) == 4
    assert scores(0, index, "a") == drawn[0]
    assert all(0 <= score < 1 for row in drawn for score in row)


@pytest.mark.parametrize(
    ("chunks", "k", "expected"),
    [(9, 3, [1, 4, 7]), (6, 1, [2]), (6, 6, [0, 1, 2, 3, 4, 5]), (10, 2, [2, 7]), (3, 5, [0, 1, 2])],
)
def test_uniform_picks_the_middles_of_equal_parts(
    engine: VideoX2L, index: VideoIndex, chunks: int, k: int, expected: list[int]
) -> None:
    longer = replace(index, entries=(index.entries * 2)[:chunks])
    scores = Uniform(k).score(engine.model, longer, QUESTION)
    assert sorted(scores.sort(descending=True, stable=True).indices[:k].tolist()) == expected


def named(index: VideoIndex, engine: VideoX2L, oracle: Manual) -> list[int]:
    return oracle.score(engine.model, index, QUESTION).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ("3", [3]),
        ("5, 0,3", [0, 3, 5]),
        ("3s-5s", [1, 2]),
        ("0:03-0:05", [1, 2]),
        ("4s", [2]),
        ("3.9s-4s", [1, 2]),
        ("0:00-1:00", [0, 1, 2, 3, 4, 5]),
        ("0,0:00:07.5-0:00:07.6", [0, 3]),
    ],
)
def test_manual_takes_chunk_numbers_and_times(
    engine: VideoX2L, index: VideoIndex, moments: str, expected: list[int]
) -> None:
    assert named(index, engine, Manual.parse(moments)) == expected


@pytest.mark.parametrize("moments", ["", " , ", "soon", "1:2:3:4", "-3", "2s-", "5x-7x"])
def test_moments_that_can_not_be_read_are_an_error(moments: str) -> None:
    with pytest.raises(SettingsError, match=r"^[^\n]+$"):
        Manual.parse(moments)


@pytest.mark.parametrize("moments", ["6", "13s-20s", "99:00"])
def test_moments_outside_the_video_are_an_error(engine: VideoX2L, index: VideoIndex, moments: str) -> None:
    with pytest.raises(SettingsError, match=r"^[^\n]+$"):
        named(index, engine, Manual.parse(moments))


def test_a_time_range_that_runs_backwards_is_an_error(engine: VideoX2L, index: VideoIndex) -> None:
    with pytest.raises(SettingsError):
        named(index, engine, Manual.parse("9s-3s"))


def test_the_named_chunks_are_all_re_loaded_and_no_other(engine: VideoX2L, index: VideoIndex) -> None:
    answer = engine.ask(index, QUESTION, oracle=Manual((1, 2, 3, 4)), k=1)
    assert [chunk.level for chunk in answer.chunks] == [2] * 6
    answer = engine.ask(index, QUESTION, oracle=Manual((2,)), k=4)
    assert [chunk.level for chunk in answer.chunks] == [2, 32, 2, 32, 32, 2]


# contrastive


def text_tokenizer() -> PreTrainedTokenizerFast:
    """A token per byte between <s> and </s>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate([*alphabet, "<s>", "</s>"])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    ends = [(name, vocabulary[name]) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")


@pytest.fixture(scope="module", params=["clip", "siglip"])
def encoder_directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random dual encoder of 40 text tokens, with its real processor."""
    directory = tmp_path_factory.mktemp(request.param)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = size | {
        "vocab_size": 258,
        "max_position_embeddings": 40,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 257,
    }
    vision = size | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    if request.param == "clip":
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(directory)
        images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        CLIPProcessor(images, text_tokenizer()).save_pretrained(directory)
    else:
        SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(directory)
        images = SiglipImageProcessor(size={"height": 32, "width": 32})
        SiglipProcessor(images, text_tokenizer()).save_pretrained(directory)
    return directory


@torch.no_grad()
def cosines(directory: Path, frames: Frames, text: str) -> Tensor:
    """transformers' own image-text cosine, (T,)."""
    model, processor = AutoModel.from_pretrained(directory).eval(), AutoProcessor.from_pretrained(directory)
    padding = "max_length" if model.config.model_type == "siglip" else False
    inputs = processor(text=[text], images=list(frames.pixels), return_tensors="pt", padding=padding, max_length=40)
    output = model(**inputs)
    return (F.normalize(output.image_embeds, dim=-1) @ F.normalize(output.text_embeds, dim=-1).T)[:, 0]


def test_contrastive_is_the_largest_cosine_of_a_chunks_frames(
    engine: VideoX2L, made_clip: Path, encoder_directory: Path
) -> None:
    encoder = HubDualEncoder(encoder_directory)
    seeing = replace(engine, encoder=encoder, oracle="contrastive")
    index = seeing.index(made_clip)
    expected = [cosines(encoder_directory, frames, QUESTION).max() for frames in open_video(made_clip).chunks(2)]
    scores = Contrastive(encoder).score(engine.model, index, QUESTION)
    torch.testing.assert_close(scores, torch.stack(expected), rtol=0, atol=1e-5)
    answer = seeing.ask(index, QUESTION, k=1)
    assert [chunk.score for chunk in answer.chunks] == scores.tolist()


def test_a_long_question_is_cut_after_the_last_word_that_fits(encoder_directory: Path) -> None:
    encoder = HubDualEncoder(encoder_directory)
    fits = "hello " * 5 + "hello"  # 35 bytes and two ends of 40
    assert torch.equal(encoder.embed_text("hello " * 50), encoder.embed_text(fits))
    assert not torch.equal(encoder.embed_text(fits), encoder.embed_text("hello " * 5))
    assert encoder.embed_text("x" * 500).isfinite().all()


def test_frames_are_embedded_alike_in_any_batch(encoder_directory: Path) -> None:
    encoder = HubDualEncoder(encoder_directory)
    frames = Frames(torch.randint(0, 255, (35, 3, 40, 50), dtype=torch.uint8), torch.arange(35.0))
    together = encoder.embed_frames(frames)
    alone = [encoder.embed_frames(Frames(frames.pixels[n : n + 1], frames.timestamps_s)) for n in (0, 34)]
    torch.testing.assert_close(together[[0, 34]], torch.cat(alone), rtol=0, atol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(35))


def test_an_encoder_added_later_runs_no_decoder(
    engine: VideoX2L, made_clip: Path, encoder_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = replace(engine, encoder=HubDualEncoder(encoder_directory), store=RamStore())
    expected = at_once.index(made_clip)
    plain = engine.index(made_clip)
    with pytest.raises(StoreError, match="embeddings"):
        plain.embeddings(at_once.encoder)
    for method in ("run", "compress", "visual_tokens"):
        monkeypatch.setattr(engine.model, method, lambda *_, **__: pytest.fail("the model was run"))
    later = replace(engine, encoder=HubDualEncoder(encoder_directory)).index(made_clip)
    assert later.reused
    assert later.key == plain.key
    for made, wanted in zip(later.embeddings(at_once.encoder), expected.embeddings(at_once.encoder), strict=True):
        assert torch.equal(made, wanted)
    embeddings, frame = later.embeddings(at_once.encoder)
    assert frame.tolist() == list(range(12))
    assert embeddings.shape == (12, embeddings.shape[1])


def test_a_model_that_is_no_dual_encoder_is_named(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(ModelError, match="qwen2"):
        HubDualEncoder(tmp_path)


# the registry


def test_every_oracle_goes_by_its_name(engine: VideoX2L, index: VideoIndex) -> None:
    settings = OracleSettings(k=2, moments="1")
    for name in sorted(set(ORACLES) - {"contrastive"}):
        scores = make_oracle(name, settings).score(engine.model, index, QUESTION)
        assert scores.shape == (6,)
        assert scores.dtype == torch.float32
        assert scores.isfinite().all()


def test_an_unknown_oracle_is_told_which_there_are() -> None:
    with pytest.raises(SettingsError, match=r"'tarot'.*attention.*uniform"):
        make_oracle("tarot", OracleSettings())


def test_oracles_read_a_level_that_is_not_the_coarsest_where_asked(engine: VideoX2L, made_clip: Path) -> None:
    index = replace(engine, compressor=SummaryTokens((2, 8, 32))).index(made_clip)
    with torch.no_grad():
        for oracle in (Attention, QueryKey):
            by_level = [oracle(level=level).score(engine.model, index, QUESTION) for level in (8, 32, None)]
            assert torch.equal(by_level[1], by_level[2])
            assert not torch.equal(by_level[0], by_level[1])
