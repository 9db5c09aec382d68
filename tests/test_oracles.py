"""Every oracle's scores equal the same quantity worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from checkpoints import save_dual_encoder
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoProcessor

from videox2l import FrameArray, Generation, SummaryTokens, TopK, VideoIndex, VideoX2L
from videox2l.errors import ModelError, SettingsError, StoreError
from videox2l.index.reload import chunk_spans, load_cache
from videox2l.models.forward import Forward
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.oracles.attention import AttentionOracle
from videox2l.oracles.base import KVOracle, Oracle
from videox2l.oracles.contrastive import Contrastive
from videox2l.oracles.fusion import Fusion
from videox2l.oracles.maxsim import MaxSim
from videox2l.oracles.probe import Probe
from videox2l.oracles.qk import QueryKey
from videox2l.oracles.random import RandomOracle
from videox2l.oracles.registry import ORACLES, make_oracle
from videox2l.oracles.temporal import Temporal
from videox2l.oracles.time import TimeOracle
from videox2l.selection.registry import SELECTORS
from videox2l.store import RamStore
from videox2l.tracks.dual_encoder import HubDualEncoder
from videox2l.types import Frames
from videox2l.video import open_video

QUESTION = "What is it?"
SHORT = Generation(max_new_tokens=4)


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
        logits = model.rotate(query, positions) @ keys.repeat_interleave(2, 0).transpose(1, 2) * projections.scaling
        weights = logits.masked_fill(hidden_keys, float("-inf")).softmax(-1)
        attended = (weights @ values.repeat_interleave(2, 0)).transpose(0, 1).flatten(1)
        hidden = layer.feed_forward(hidden + layer.self_attn.o_proj(attended))
        attention.append(weights)
        queries.append(query)
    return attention, queries


# attention


@pytest.mark.parametrize("level", [None, 2])
@pytest.mark.parametrize("tokens", ["last", "all"])
@pytest.mark.parametrize("scale", [1 / 4, 1 / 3])
@torch.no_grad()
def test_attention_is_the_softmax_of_an_eager_forward(
    video_xl: VideoXL,
    index: VideoIndex,
    scale: float,
    tokens: Literal["last", "all"],
    level: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the decoder's own scale, which need not be 1 / sqrt(d_h)."""
    for layer in video_xl.model.layers:
        monkeypatch.setattr(layer.self_attn, "scaling", scale)
    levels = (level or 32,) * 6
    attention, _ = eager(video_xl, index, levels)
    weights = torch.stack(attention).mean(dim=(0, 1))  # (n, m)
    weights = weights[-1] if tokens == "last" else weights.mean(dim=0)
    expected = torch.stack([weights[span].mean() for span in chunk_spans(index, levels)])
    scores = AttentionOracle(tokens, level=level).score(video_xl, index, QUESTION).chunks
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-7)
    assert scores.std() > 0.01 * scores.mean()


SEVERAL = ("What is it?", "Where does the red one go at 0:05?", "Why?")


@pytest.mark.parametrize(
    "oracle",
    [
        AttentionOracle(),
        AttentionOracle("all", level=2),
        Temporal(AttentionOracle(), 1.5),
        Fusion((AttentionOracle(), QueryKey())),
        TimeOracle(Temporal(AttentionOracle())),
    ],
    ids=str,
)
@torch.no_grad()
def test_questions_scored_together_have_the_scores_of_each_alone(
    video_xl: VideoXL, index: VideoIndex, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [oracle.score(video_xl, index, question) for question in SEVERAL]
    runs: list[int] = []
    real = video_xl.run

    def run(embeddings: Tensor, forward: Forward) -> Tensor:
        runs.append(len(embeddings))
        return real(embeddings, forward)

    monkeypatch.setattr(video_xl, "run", run)
    together = oracle.score_all(video_xl, index, SEVERAL)
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.chunks, other.chunks, rtol=1e-4, atol=1e-6)
        assert one.named == other.named
    assert max(runs) == sum(len(video_xl.question_ids(question)) for question in SEVERAL)
    assert len({tuple(scores.chunks.tolist()) for scores in together}) == 3


# qk


@torch.no_grad()
def test_qk_is_the_cosine_of_mean_query_and_mean_key_in_each_layer(video_xl: VideoXL, index: VideoIndex) -> None:
    """The queries come from the question right behind the prompt, and nothing is rotated."""
    alone = replace(index, entries=())
    _, queries = eager(video_xl, alone, ())
    expected = torch.zeros(6)
    for chunk in range(6):
        keys = index.kv(chunk, 32).keys.mean(dim=2)  # (n_l, n_h, d_h)
        for layer, query in enumerate(queries):
            grouped = query.mean(dim=1).unflatten(0, (2, 2)).mean(dim=1)  # (n_h, d_h)
            expected[chunk] += F.cosine_similarity(grouped.flatten(), keys[layer].flatten(), dim=0) / len(queries)
    scores = QueryKey().score(video_xl, index, QUESTION).chunks
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    assert scores.std() > 1e-3


# random


def test_random_is_fixed_by_seed_video_and_question(engine: VideoX2L, index: VideoIndex) -> None:
    def scores(seed: int, of: VideoIndex, question: str) -> list[float]:
        return RandomOracle(seed).score(engine.model, of, question).chunks.tolist()

    other = replace(index, spec=replace(index.spec, model="another"))
    drawn = [scores(0, index, "a"), scores(1, index, "a"), scores(0, other, "a"), scores(0, index, "b")]
    assert len({tuple(row) for row in drawn}) == 4
    assert scores(0, index, "a") == drawn[0]
    assert all(0 <= score < 1 for row in drawn for score in row)


# contrastive


@pytest.fixture(scope="module", params=["clip", "siglip"])
def encoder_directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dual_encoder(request.param, tmp_path_factory.mktemp(request.param))


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
    of_frames = torch.cat([cosines(encoder_directory, frames, QUESTION) for frames in open_video(made_clip).chunks(2)])
    given = Contrastive(encoder).score(engine.model, index, QUESTION)
    scores, frames = given.chunks, given.frames
    torch.testing.assert_close(scores, torch.stack(expected), rtol=0, atol=1e-5)
    assert frames is not None
    torch.testing.assert_close(frames.scores, of_frames, rtol=0, atol=1e-5)
    assert frames.time_s.tolist() == list(range(12))
    assert frames.match is None  # nobody calibrated it
    answer = seeing.ask(index, QUESTION)
    assert [chunk.score for chunk in answer.chunks] == scores.tolist()


def test_a_long_question_is_cut_after_the_last_word_that_fits(encoder_directory: Path) -> None:
    encoder = HubDualEncoder(encoder_directory)
    fits = "hello " * 5 + "hello"  # 35 bytes and two ends of 40
    assert torch.equal(encoder.embed_text("hello " * 50), encoder.embed_text(fits))
    assert not torch.equal(encoder.embed_text(fits), encoder.embed_text("hello " * 5))
    assert encoder.embed_text("x" * 500).isfinite().all()


def test_a_question_longer_than_the_text_tower_is_said_to_be_cut(encoder_directory: Path, index: VideoIndex) -> None:
    contrastive = Contrastive(HubDualEncoder(encoder_directory))
    assert contrastive.notes(index, "hello " * 6) == ()
    (note,) = contrastive.notes(index, "hello " * 8)
    assert "6 of the question's 8 words" in note
    assert Temporal(Fusion((contrastive, AttentionOracle()))).notes(index, "hello " * 7) != ()


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
    encoder = HubDualEncoder(encoder_directory)
    at_once = replace(engine, encoder=encoder, store=RamStore())
    expected = at_once.index(made_clip)
    plain = engine.index(made_clip)
    with pytest.raises(StoreError, match="embeddings"):
        plain.embeddings(encoder)
    for method in ("run", "compress", "visual_tokens"):
        monkeypatch.setattr(engine.model, method, lambda *_, **__: pytest.fail("the model was run"))
    later = replace(engine, encoder=HubDualEncoder(encoder_directory)).index(made_clip)
    assert later.reused
    assert later.key == plain.key
    for made, wanted in zip(later.embeddings(encoder), expected.embeddings(encoder), strict=True):
        assert torch.equal(made, wanted)
    embeddings, time_s = later.embeddings(encoder)
    assert time_s.tolist() == list(range(12))
    assert embeddings.shape == (12, embeddings.shape[1])


def test_a_model_that_is_no_dual_encoder_is_named(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(ModelError, match="qwen2"):
        HubDualEncoder(tmp_path)


# levels


def test_oracles_read_the_level_asked_for(engine: VideoX2L, made_clip: Path) -> None:
    compressor = SummaryTokens((2, 8, 32))
    index = replace(engine, compressor=compressor, oracle=QueryKey(level=8)).index(made_clip)
    for oracle, default in ((AttentionOracle, 32), (QueryKey, 32), (MaxSim, 2), (Probe, 2)):
        asked = {level: oracle(level=level).score(engine.model, index, QUESTION).chunks for level in (2, 8, 32, None)}
        for level in (2, 8, 32):
            assert torch.equal(asked[level], asked[None]) == (level == default)


@pytest.mark.parametrize("oracle", [AttentionOracle, QueryKey, MaxSim, Probe])
def test_a_level_that_the_index_does_not_have_is_an_error(
    engine: VideoX2L, index: VideoIndex, oracle: type[KVOracle]
) -> None:
    with pytest.raises(SettingsError, match=r"can't read level 8: the index has levels 2, 4, 32"):
        engine.ask(index, QUESTION, oracle=oracle(level=8))


@pytest.fixture
def short_end(engine: VideoX2L) -> tuple[VideoX2L, VideoIndex]:
    """Four chunks at 2x and 288x; the last one has one frame, of 144 tokens, and no KV at 288x."""
    pixels = torch.randint(0, 256, (7, 48, 64, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    engine = replace(engine, compressor=SummaryTokens((2, 288)), oracle="attention")
    index = engine.index(FrameArray(pixels, torch.arange(7.0)))
    assert [entry.tokens for entry in index.entries] == [{2: 144, 288: 1}] * 3 + [{2: 72, 288: 0}]
    return engine, index


@pytest.mark.parametrize(
    ("oracle", "lowest"),
    [
        (AttentionOracle(), 0),
        (AttentionOracle("all"), 0),
        (QueryKey(), -1),
        (MaxSim(level=288), 0),
        (Probe(level=288), 0),
    ],
)
def test_a_chunk_without_kvs_has_the_lowest_score(
    short_end: tuple[VideoX2L, VideoIndex], oracle: Oracle, lowest: float
) -> None:
    engine, index = short_end
    scores = oracle.score(engine.model, index, QUESTION).chunks.tolist()
    assert scores[-1] == lowest
    assert all(math.isfinite(score) and score > lowest for score in scores[:-1])


@pytest.mark.parametrize("oracle", ["attention", "qk", "fusion", "cascade"])
def test_a_chunk_without_kvs_is_not_chosen_and_its_answer_is_json(
    short_end: tuple[VideoX2L, VideoIndex], oracle: str
) -> None:
    engine, index = short_end
    answer = engine.ask(index, QUESTION, oracle=oracle, selector=TopK(1, fine_edges=False), generation=SHORT)
    assert [chunk.level for chunk in answer.chunks].count(2) == 1
    assert answer.chunks[-1].level == 288
    assert answer.chunks[-1].ratio is None
    assert answer.chunks[-1] not in answer.moments
    printed = json.loads(json.dumps(answer.to_json(), allow_nan=False))
    assert [chunk["score"] for chunk in printed["chunks"]] == [chunk.score for chunk in answer.chunks]


# the registry


def test_every_oracle_goes_by_its_name(engine: VideoX2L, index: VideoIndex) -> None:
    assert ORACLES.names == (
        "attention",
        "cascade",
        "contrastive",
        "fusion",
        "maxsim",
        "probe",
        "qk",
        "random",
        "subtitles",
        "time",
    )
    for name in sorted({*ORACLES.names} - {"contrastive"}):
        scores = make_oracle(name).score(engine.model, index, QUESTION).chunks
        assert scores.shape == (6,)
        assert scores.dtype == torch.float32
        assert scores.isfinite().all()


def test_encoder_and_seed_go_to_the_oracles_that_take_them(encoder_directory: Path) -> None:
    encoder = HubDualEncoder(encoder_directory)
    assert make_oracle("random", encoder=encoder, seed=7) == RandomOracle(7)
    assert make_oracle("qk", encoder=encoder, seed=7) == QueryKey()
    contrastive = make_oracle("contrastive", encoder=encoder, seed=7)
    assert isinstance(contrastive, Contrastive)
    assert contrastive.encoder is encoder
    assert make_oracle("fusion", encoder=encoder) == Fusion((contrastive, MaxSim(), Probe()))


def test_an_oracle_that_lacks_what_it_needs_says_so() -> None:
    with pytest.raises(SettingsError, match=r"'tarot'.*attention.*random"):
        make_oracle("tarot")
    with pytest.raises(SettingsError, match="the contrastive oracle needs a dual encoder: pass --encoder"):
        make_oracle("attention+contrastive")


OUTSIDE = """
from dataclasses import dataclass
import torch
from videox2l.oracles.base import Oracle
from videox2l.selection.base import Selector
from videox2l.types import Selection

@dataclass(frozen=True)
class Rising(Oracle):
    seed: int = 0

    def relevance(self, model, index, question):
        return torch.arange(len(index.entries)) + float(self.seed)

@dataclass(frozen=True)
class Threshold(Selector):
    least: float = 12.0

    def select(self, scores, index):
        chosen = [chunk for chunk, score in enumerate(scores.tolist()) if score >= self.least]
        return Selection(self.two_levels(chosen, index), tuple(scores.tolist()), tuple(chosen))
"""

ENTRY_POINTS = """
[videox2l.oracles]
rising = outside_package:Rising
random = outside_package:Rising
[videox2l.selectors]
threshold = outside_package:Threshold
"""


def test_another_package_adds_an_oracle_and_a_selector_by_entry_points(
    engine: VideoX2L, index: VideoIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside_package.py").write_text(OUTSIDE)
    information = tmp_path / "outside_package-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: outside_package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)

    assert "rising" in ORACLES.names
    assert "threshold" in SELECTORS.names
    asking = replace(engine, oracle="rising", selector="threshold")
    answer = asking.ask(index, QUESTION, generation=SHORT)
    assert [chunk.score for chunk in answer.chunks] == [0, 1, 2, 3, 4, 5]
    assert [chunk.level for chunk in answer.chunks] == [2, 32, 32, 32, 32, 2]
    answer = asking.ask(index, QUESTION, oracle=make_oracle("rising", seed=9), generation=SHORT)
    assert [chunk.level for chunk in answer.chunks] == [2, 32, 32, 2, 2, 2]
    assert [chunk.index for chunk in answer.chunks if chunk.is_chosen] == [3, 4, 5]
    assert [moment.start_s for moment in answer.moments] == [6, 8, 10]
    assert isinstance(make_oracle("rising+qk"), Fusion)
    assert make_oracle("random") == RandomOracle()  # a name of ours stays ours
    with pytest.raises(SettingsError, match=r"nothing would read level 8 .* Threshold"):
        replace(asking, compressor=SummaryTokens((2, 8, 32)))
