"""The cascade: a scan of keys at a middle level, then a probe of the best chunks; and the level it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import save_dual_encoder
from torch import Tensor

from videox2l import FrameArray, SummaryTokens, VideoIndex, VideoX2L
from videox2l.errors import SettingsError
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.oracles.cascade import Cascade
from videox2l.oracles.contrastive import Contrastive
from videox2l.oracles.maxsim import MaxSim
from videox2l.oracles.probe import Probe
from videox2l.store import RamStore
from videox2l.store.base import Shelf
from videox2l.store.ram import RamShelf
from videox2l.tracks.dual_encoder import HubDualEncoder

QUESTION = "Where is the red star?"


@pytest.fixture(scope="module")
def video() -> FrameArray:
    pixels = torch.randint(0, 256, (16, 48, 64, 3), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    return FrameArray(pixels, torch.arange(16.0))


@pytest.fixture
def index(engine: VideoX2L, video: FrameArray) -> VideoIndex:
    return engine.index(video)  # 8 chunks


# the scan


@torch.no_grad()
def test_maxsim_cubes_what_a_chunks_best_key_has_above_the_other_chunks(engine: VideoX2L, index: VideoIndex) -> None:
    """Query by query, from the decoder's own projections."""
    model = engine.model
    assert isinstance(model, VideoXL)
    cache, ids = model.new_cache(256), model.question_ids(QUESTION)
    cache.append(index.prompt)
    layers, inputs = model.model.layers, []
    hooks = [
        layer.self_attn.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))  # normed states
        for layer in layers
    ]
    model.read(ids, cache)
    for hook in hooks:
        hook.remove()
    expected = torch.zeros(8)
    count = 0
    for number, (layer, states) in enumerate(zip(layers, inputs, strict=True)):
        queries = layer.self_attn.q_proj(states).unflatten(1, (4, 16))  # (n, heads, d_h)
        for head in range(4):
            for query in queries[:, head]:
                keys = [index.kv(chunk, 4).keys[number, head // 2] for chunk in range(8)]
                best = torch.stack([(key @ query).max() for key in keys]) * layer.self_attn.scaling
                expected += (best - best.mean()).clamp_min(0) ** 3
                count += 1
    scores = MaxSim(level=4).score(model, index, QUESTION).chunks
    torch.testing.assert_close(scores, expected / count, rtol=1e-3, atol=1e-9)
    assert count == 3 * 4 * len(ids)
    assert scores.std() > 0.01 * scores.mean()


# scan, then probe


def ranked(scores: Tensor, chunks: Sequence[int]) -> list[int]:
    return sorted(chunks, key=lambda chunk: -float(scores[chunk]))


def test_the_best_of_the_scan_are_probed_and_the_others_follow_as_scanned(engine: VideoX2L, index: VideoIndex) -> None:
    model = engine.model
    scan = MaxSim(level=4).score(model, index, QUESTION).chunks
    order = ranked(scan, range(8))
    probe = Probe().among(order[:3], model, index, QUESTION)
    scores = Cascade(candidates=3).score(model, index, QUESTION).chunks
    torch.testing.assert_close(scores[order[:3]], (scan * probe)[order[:3]], rtol=1e-3, atol=1e-9)
    assert ranked(scores, range(8)) == ranked(scan * probe, order[:3]) + order[3:]
    assert (scores >= 0).all()
    everything = Cascade(candidates=8).score(model, index, QUESTION).chunks
    torch.testing.assert_close(everything, scan * Probe().score(model, index, QUESTION).chunks, rtol=1e-3, atol=1e-9)


def test_frame_embeddings_shortlist_what_is_scanned(engine: VideoX2L, video: FrameArray, tmp_path: Path) -> None:
    encoder = HubDualEncoder(save_dual_encoder("clip", tmp_path))
    index = replace(engine, encoder=encoder).index(video)
    similar = Contrastive(encoder).score(engine.model, index, QUESTION).chunks
    shortlist = ranked(similar, range(8))[:4]
    scan = MaxSim(level=4).among(shortlist, engine.model, index, QUESTION)
    scores = Cascade(candidates=1, encoder=encoder).score(engine.model, index, QUESTION).chunks
    assert ranked(scores, range(8))[:4] == ranked(scan, shortlist)
    assert ranked(scores, range(8))[4:] == ranked(similar, range(8))[4:]


class ReadNames(RamShelf):
    """A shelf that notes what is read from it."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__()
        self.shelf = shelf
        self.names: list[str] = []

    def read(self, part: str, names: Sequence[str]) -> list[Tensor]:
        self.names += [f"{part} {name}" for name in names]
        return self.shelf.read(part, names)


def test_the_scan_reads_keys_alone_and_the_probe_only_its_candidates(engine: VideoX2L, index: VideoIndex) -> None:
    assert isinstance(engine.store, RamStore)
    shelf = engine.store._shelves[index.key] = ReadNames(engine.store.shelf(index.key))
    Cascade(candidates=2).score(engine.model, index, QUESTION)
    assert sum(name.endswith(" 4.keys") for name in shelf.names) == 8
    assert sum(name.endswith(" 2.values") for name in shelf.names) == 2
    assert len(shelf.names) == 8 + 2 * 3


# the middle level


def test_the_middle_level_is_kept_where_the_oracle_reads_it(engine: VideoX2L, video: FrameArray) -> None:
    assert engine.oracle == "cascade"
    assert engine.index(video).levels == (2, 4, 32)
    assert replace(engine, oracle=Cascade(level=8)).index(video).levels == (2, 8, 32)
    fresh = replace(engine, store=RamStore())
    assert replace(fresh, oracle="attention").index(video).levels == (2, 32)
    for levels in ((2,), (4, 32), (8, 32), (2, 3)):
        assert replace(fresh, compressor=SummaryTokens(levels)).index(video).levels == levels
    two_pass = replace(fresh, compressor=SummaryTokens(passes="two_pass"))
    assert two_pass.index(video).levels == (2, 32)  # a level more would be a pass more


def test_asking_with_the_cascade_indexes_the_level_it_reads(engine: VideoX2L, video: FrameArray) -> None:
    answer = replace(engine, oracle="random").ask(video, QUESTION, oracle="cascade")
    assert answer.index.levels == (2, 4, 32)
    assert not any("has no middle level" in note for note in answer.notes)
    coarser = replace(engine, oracle=Cascade(level=8)).ask(video, QUESTION)  # which the stored index has not
    assert coarser.index.levels == (2, 8, 32)
    assert not any("has no middle level" in note for note in coarser.notes)


@pytest.mark.parametrize(("levels", "scanned"), [((2, 8, 32), 8), ((2, 3, 16, 32), 3), ((1, 4), 4), ((8, 32), 8)])
def test_the_nearest_middle_level_is_scanned(
    engine: VideoX2L, video: FrameArray, levels: tuple[int, ...], scanned: int
) -> None:
    index = replace(engine, compressor=SummaryTokens(levels), selector="one_level", oracle="random").index(video)
    assert Cascade().scanned_level(index) == scanned


def test_an_index_without_the_middle_level_is_scanned_at_the_finest_and_the_answer_says_so(
    engine: VideoX2L, video: FrameArray
) -> None:
    index = replace(engine, oracle="random").index(video)
    assert index.levels == (2, 32)
    answer = engine.ask(index, QUESTION)
    assert "the index has no middle level, so all chunks were scanned at 2x" in answer.notes
    model = engine.model
    expected = MaxSim(level=2).score(model, index, QUESTION).chunks * Probe().score(model, index, QUESTION).chunks
    assert answer.selection.scores == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("later", ["encoder", "another oracle"])
def test_an_encoder_or_an_oracle_chosen_later_needs_no_new_prefill(
    engine: VideoX2L, video: FrameArray, later: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = engine.index(video)
    assert first.levels == (2, 4, 32)
    encoder = HubDualEncoder(save_dual_encoder("clip", tmp_path)) if later == "encoder" else None
    seeing = replace(engine, encoder=encoder, oracle="contrastive" if encoder else "attention")
    with monkeypatch.context() as patch:
        for method in ("run", "compress", "visual_tokens"):
            patch.setattr(engine.model, method, lambda *_, **__: pytest.fail("the model was run"))
        index = seeing.index(video)
    assert index.reused
    assert index.levels == (2, 32)  # what an index made now would have
    answer = seeing.ask(index, QUESTION)
    made_now = replace(seeing, store=RamStore()).ask(video, QUESTION)
    assert answer.selection.levels == made_now.selection.levels
    assert answer.text == made_now.text


def test_a_long_video_without_an_encoder_is_said_to_be_hard(
    engine: VideoX2L, index: VideoIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Cascade().notes(index, QUESTION) == ()
    monkeypatch.setattr("videox2l.oracles.cascade.MANY_CHUNKS", 7)
    (note,) = engine.ask(index, QUESTION).notes
    assert "among 8 chunks" in note
    assert "--encoder google/siglip2-base-patch16-224" in note


def test_no_candidate_is_refused() -> None:
    with pytest.raises(SettingsError, match="candidates=0"):
        Cascade(candidates=0)
