"""Models with recurrent layers: their chunks are kept as they enter the decoder, and selected ones prefilled anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from videox2l import FRESH, NOTHING, Generation, Manual, OneLevel, TopK, VideoX2L
from videox2l.compression.fresh import Fresh
from videox2l.compression.keydiff import KeyDiff
from videox2l.compression.registry import compressor_for
from videox2l.errors import ModelError, SettingsError
from videox2l.evaluation.settings import Setting, comparison
from videox2l.index.reload import load_cache
from videox2l.index.sizing import predict_size
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.models.load import load_model
from videox2l.oracles.probe import Probe
from videox2l.store import DiskStore, RamStore
from videox2l.testing.conformance import QUESTION, index_frames, noise
from videox2l.testing.tiny_models import RECURRENT_FAMILIES, build
from videox2l.types import VideoOutline, VideoTokens

PIXELS = noise(24)
CHUNKS = 6
"""Of four frames each."""


@pytest.fixture(scope="module", params=RECURRENT_FAMILIES)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(directory: Path) -> MLLM:
    return load_model(directory, device="cpu")


@pytest.fixture(scope="module")
def engine(model: MLLM) -> VideoX2L:
    return VideoX2L(model, chunk_frames=4, store=RamStore())


@pytest.fixture(scope="module")
def index(engine: VideoX2L) -> VideoIndex:
    return index_frames(engine, PIXELS)


@torch.no_grad()
def own_logits(directory: Path, model: MLLM, index: VideoIndex, chosen: dict[int, tuple[int, ...] | None]) -> Tensor:
    """One forward of the class's own decoder over the prompt, the chosen chunks or frames, and the question."""
    ids = model.question_ids(QUESTION)
    assert index.prompt_tokens is not None
    parts = [index.prompt_tokens]
    for chunk, frames in sorted(chosen.items()):
        part = index.read(chunk, FRESH, frames)
        assert isinstance(part, VideoTokens)
        parts.append(part)
    placed = [index.prompt.positions]
    for part in parts[1:]:
        placed.append(model.contiguous(part.positions, placed[-1]))
    start = int(placed[-1].max()) + 1
    placed.append(torch.arange(start, start + len(ids)).expand(3, -1))
    embeddings = torch.cat([*(part.embeddings for part in parts), model.embed(ids)])
    own = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
    states = own.model.language_model(inputs_embeds=embeddings[None], position_ids=torch.cat(placed, dim=1)[:, None])
    return own.lm_head(states.last_hidden_state[0, -1])


@torch.no_grad()
@pytest.mark.parametrize("chosen", [{1: None, 4: None}, {0: None}, {2: (0,), 3: None, 5: (1,)}], ids=str)
def test_selected_chunks_prefilled_anew_are_the_classs_own_forward_over_their_tokens(
    directory: Path, model: MLLM, index: VideoIndex, chosen: dict[int, tuple[int, ...] | None]
) -> None:
    levels = tuple(FRESH if chunk in chosen else NOTHING for chunk in range(CHUNKS))
    frames = {chunk: kept for chunk, kept in chosen.items() if kept is not None}
    cache = load_cache(model, index, levels, frames=frames)
    assert cache.length == index.tokens(levels, frames)
    logits = model.logits(model.read(model.question_ids(QUESTION), cache)[-1:])[0]
    torch.testing.assert_close(logits, own_logits(directory, model, index, chosen), atol=1e-4, rtol=0)


def test_by_default_the_best_chunks_are_read_and_the_others_left_out(engine: VideoX2L, index: VideoIndex) -> None:
    assert engine.compressor == Fresh()
    assert engine.selector == TopK(leaves_out=True)
    answer = engine.ask(index, QUESTION, selector=TopK(1), generation=Generation(4))
    assert answer.selection.oracle == "probe"
    assert answer.selection.levels.count(FRESH) in (2, 3)
    assert answer.selection.levels.count(NOTHING) == CHUNKS - answer.selection.levels.count(FRESH)
    assert answer.cache_tokens == index.tokens(answer.selection.levels) < answer.full_cache_tokens
    assert answer.timings_s["prefill"] > 0
    whole = engine.ask(index, QUESTION, selector=OneLevel(), generation=Generation(4))
    assert whole.cache_tokens == whole.full_cache_tokens


def test_its_index_holds_what_enters_the_decoder_and_no_kvs(model: MLLM, tmp_path: Path, index: VideoIndex) -> None:
    engine = VideoX2L(model, chunk_frames=4, store=DiskStore(tmp_path))
    made = index_frames(engine, PIXELS)
    names = set()
    total = 0
    for file in (tmp_path / made.key).glob("*.safetensors"):
        with safe_open(file, "pt") as stream:
            names |= set(stream.keys())
            total += sum(stream.get_tensor(name).nbytes for name in stream.keys())  # noqa: SIM118
    fresh = {"fresh.embeddings", "fresh.positions", "fresh.deepstack"}
    assert names == {*fresh, "is_text", "embeddings", "keys", "values", "positions"}
    assert made.prompt.keys.numel() == 0
    assert made.decoder_tokens == {"single_pass": 0}
    size = predict_size(model, Fresh(), VideoOutline(24, 24.0), PIXELS.shape[2], PIXELS.shape[3], 4)
    assert size.stored_bytes == pytest.approx(total, rel=0.03)
    opened = index_frames(engine, PIXELS)
    assert opened.reused
    generation = Generation(4)
    first, again = (
        each.ask(video, QUESTION, generation=generation) for each, video in ((engine, opened), (engine, made))
    )
    assert first.text == again.text == VideoX2L(model, chunk_frames=4).ask(index, QUESTION, generation=generation).text


def test_kvs_that_are_asked_for_are_refused_in_one_sentence(model: MLLM, directory: Path, tmp_path: Path, run) -> None:
    told = "has recurrent layers, whose state can't be put together from chunks' KVs: leave levels and compressor out"
    with pytest.raises(SettingsError, match=told):
        VideoX2L(model, KeyDiff())
    for settings in ({"levels": (2, 32)}, {"levels": ("fresh", 32)}, {"name": "pool"}):
        with pytest.raises(SettingsError, match=told):
            compressor_for(model, **settings)
    assert compressor_for(model, levels=("fresh",)) == compressor_for(model) == Fresh()


def test_oracles_that_read_kvs_are_refused_in_one_sentence(engine: VideoX2L, index: VideoIndex) -> None:
    with pytest.raises(ModelError, match="choose an oracle that reads none of them, as contrastive, probe or time"):
        engine.ask(index, QUESTION, oracle="attention")
    with pytest.raises(SettingsError, match="can't read level fresh"):
        engine.ask(index, QUESTION, oracle="qk")
    assert (
        engine.ask(index, "What is shown at 0:09?", oracle="time", generation=Generation(1)).selection.moments[0] == 2
    )


@torch.no_grad()
def test_the_probe_reads_every_chunk_alone_however_many_go_together(engine: VideoX2L, index: VideoIndex) -> None:
    together, alone = (Probe(batch_tokens=tokens).relevance(engine.model, index, QUESTION) for tokens in (10_000, 1))
    torch.testing.assert_close(together, alone)
    assert len(set(together.tolist())) == CHUNKS


def test_a_model_in_memory_is_driven_too(directory: Path, model: MLLM, index: VideoIndex) -> None:
    own = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32)
    wrapped = VideoX2L(own, processor=AutoProcessor.from_pretrained(directory), chunk_frames=4, store=RamStore())
    made = index_frames(wrapped, PIXELS)
    chosen = Manual((1, 2), fine_edges=False)
    texts = [each.ask(video, QUESTION, selector=chosen).text for each, video in ((wrapped, made),)]
    texts.append(VideoX2L(model, chunk_frames=4, store=RamStore()).ask(index, QUESTION, selector=chosen).text)
    assert texts[0] == texts[1]


def test_it_is_evaluated_beside_fresh_frames_alone(engine: VideoX2L) -> None:
    settings = comparison(Setting.of(engine), has_encoder=False)
    assert [setting.name for setting in settings] == [
        "full cache",
        "fresh, probe, k=3",
        "fresh, random",
        "fresh, evenly spaced",
        "frames uniform, fresh",
    ]
    assert {setting.compressor for setting in settings} == {Fresh()}


def test_the_command_line_refuses_ratios(run, directory: Path, clip: Path) -> None:
    code, out, _ = run("ask", clip, QUESTION, "--model", directory, "--levels", "2,32", "--json")
    assert code != 0
    assert "has recurrent layers" in json.loads(out)["error"]
