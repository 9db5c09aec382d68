"""Which chunks every selector reads at which level, and what it calls the moments of the answer."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from videox2l import NOTHING, Adaptive, Even, Manual, OneLevel, SummaryTokens, TopK, VideoIndex, VideoX2L
from videox2l.errors import SettingsError
from videox2l.oracles.fusion import Fusion
from videox2l.oracles.probe import Probe
from videox2l.oracles.qk import QueryKey
from videox2l.oracles.temporal import Temporal
from videox2l.selection.adaptive import spread
from videox2l.selection.base import Selector
from videox2l.selection.frames.adaq import QuasiGaussian
from videox2l.selection.frames.aks import AdaptiveKeyframes
from videox2l.selection.frames.bolt import InverseTransform
from videox2l.selection.frames.top_k import TopFrames
from videox2l.selection.frames.uniform import UniformFrames
from videox2l.selection.registry import SELECTORS, make_selector

SCORES = torch.tensor([0.9, 0.1, 0.5, 0.2, 0.4, 0.8])


@pytest.fixture
def index(engine: VideoX2L, made_clip: Path) -> VideoIndex:
    """Six chunks of 2 seconds and 288 tokens each, all of them at 2x and at 32x."""
    return engine.index(made_clip)


@pytest.fixture
def three_levels(engine: VideoX2L, made_clip: Path) -> VideoIndex:
    """The same at 2x, 8x and 32x."""
    compressor = SummaryTokens((2, 8, 32))
    return replace(engine, compressor=compressor, selector=OneLevel()).index(made_clip)


def fine(selector: Selector, index: VideoIndex, scores: torch.Tensor | None = SCORES) -> list[int]:
    """The chunks that are read at the finest level; all others are at the coarsest."""
    levels = selector.select(scores, index).levels
    assert len(levels) == len(index.entries)
    assert set(levels) <= {index.levels[0], index.levels[-1]}
    return [chunk for chunk, level in enumerate(levels) if level == index.levels[0]]


# top_k


def test_the_k_most_relevant_chunks_get_the_finest_level(index: VideoIndex) -> None:
    assert [fine(TopK(k, fine_edges=False), index) for k in range(4)] == [[], [0], [0, 5], [0, 2, 5]]


def test_the_first_and_last_chunk_are_fine_whatever_their_score_and_need_no_place_among_the_k(
    index: VideoIndex,
) -> None:
    assert [fine(TopK(k), index) for k in range(3)] == [[0, 5], [0, 2, 5], [0, 2, 4, 5]]
    assert fine(TopK(1), index, -SCORES) == [0, 1, 5]


def test_the_edges_of_two_passes_are_read_from_the_pass_of_their_level(engine: VideoX2L, made_clip: Path) -> None:
    """As published: both keep the first and last chunk at 2x, and what is not chosen comes from the coarse pass."""
    index = replace(engine, compressor=SummaryTokens(passes="two_pass")).index(made_clip)
    assert [entry.tokens[32] for entry in index.entries] == [144, 9, 9, 9, 9, 144]
    assert TopK(2).select(SCORES, index).levels == (32, 32, 2, 32, 2, 32)


@pytest.mark.parametrize("fine_edges", [True, False])
@pytest.mark.parametrize("k", [6, 7, 1000])
def test_a_k_beyond_the_chunks_selects_all(index: VideoIndex, k: int, fine_edges: bool) -> None:
    selection = TopK(k, fine_edges=fine_edges).select(SCORES, index)
    assert selection.levels == (2,) * 6
    assert selection.moments == (0, 5, 2, 4, 3, 1)


def test_ties_go_to_the_earlier_chunk(index: VideoIndex) -> None:
    assert fine(TopK(2, fine_edges=False), index, torch.ones(6)) == [0, 1]
    assert fine(TopK(2, fine_edges=False), index, torch.tensor([0.0, 1, 0, 1, 1, 0])) == [1, 3]


def test_an_edge_is_a_moment_only_if_its_score_is_among_the_k_best(index: VideoIndex) -> None:
    assert TopK(3).select(SCORES, index).moments == (0, 5, 2, 4, 3)
    assert TopK(2).select(-SCORES, index).moments == (1, 3)
    assert TopK(3).select(-SCORES, index).moments == (1, 3, 4)
    assert TopK(3, fine_edges=False).select(SCORES, index).moments == (0, 5, 2)
    assert TopK(0).select(SCORES, index).moments == ()


def test_scores_are_kept_with_the_selection(index: VideoIndex) -> None:
    assert TopK(1).select(SCORES, index).scores == tuple(SCORES.tolist())


@pytest.mark.parametrize("selector", [TopK, Even])
def test_a_negative_k_is_an_error(selector: type[TopK] | type[Even]) -> None:
    with pytest.raises(SettingsError, match="k=-1"):
        selector(-1)


# one_level


def test_one_level_reads_the_whole_video_at_it(three_levels: VideoIndex) -> None:
    for level in (2, 8, 32):
        selection = OneLevel(level).select(None, three_levels)
        assert selection.levels == (level,) * 6
        assert selection.scores is None
        assert selection.moments == ()
    assert OneLevel().select(None, three_levels).levels == (32,) * 6
    assert OneLevel(8, fine_edges=True).select(None, three_levels).levels == (2, 8, 8, 8, 8, 2)


def test_a_level_that_the_index_does_not_have_is_an_error(index: VideoIndex) -> None:
    with pytest.raises(SettingsError, match=r"level 8 .* 2,4,32"):
        OneLevel(8).select(None, index)


# even


@pytest.mark.parametrize(
    ("chunks", "k", "expected"),
    [
        (9, 3, [1, 4, 7]),
        (6, 1, [2]),
        (6, 3, [0, 2, 4]),
        (6, 6, [0, 1, 2, 3, 4, 5]),
        (10, 2, [2, 7]),
        (10, 3, [1, 4, 8]),
        (3, 5, [0, 1, 2]),
        (12, 0, []),
    ],
)
def test_even_takes_the_middles_of_equal_parts(index: VideoIndex, chunks: int, k: int, expected: list[int]) -> None:
    other = replace(index, entries=(index.entries * 2)[:chunks])
    assert fine(Even(k, fine_edges=False), other, None) == expected
    selection = Even(k, fine_edges=False).select(None, other)
    assert selection.moments == tuple(expected)
    assert selection.scores is None


def test_even_chunks_are_spread_between_the_edges(index: VideoIndex) -> None:
    longer = replace(index, entries=index.entries * 2)
    assert fine(Even(2), longer, None) == [0, 3, 8, 11]
    assert Even(2).select(None, longer).moments == (3, 8)
    assert fine(Even(99), longer, None) == list(range(12))


def test_even_parts_differ_by_one_chunk_at_most(index: VideoIndex) -> None:
    for chunks in range(1, 40):
        video = replace(index, entries=(index.entries * 7)[:chunks])
        for k in range(1, chunks + 1):
            places = Even(k, fine_edges=False).select(None, video).moments
            assert len(set(places)) == k
            gaps = [after - before for before, after in pairwise(places)]
            assert not gaps or max(gaps) - min(gaps) <= 1


# manual


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ("3", [3]),
        ("5, 0,3", [0, 3, 5]),
        ("3s-5s", [1, 2]),
        ("0:03-0:05", [1, 2]),
        ("2s-4s", [1]),  # the end is exclusive: chunk 2 starts at 4 s
        ("3.9s-4s", [1]),
        ("3.9s-4.1s", [1, 2]),
        ("4s", [2]),
        ("0:04", [2]),
        ("0:04-0:04", [2]),
        ("4.5s", [2]),
        ("0s", [0]),
        ("0:00-1:00", [0, 1, 2, 3, 4, 5]),
        ("0,0:00:07.5-0:00:07.6", [0, 3]),
    ],
)
def test_manual_takes_chunk_numbers_and_times(index: VideoIndex, moments: str, expected: list[int]) -> None:
    assert fine(Manual.parse(moments, fine_edges=False), index, None) == expected
    selection = Manual.parse(moments).select(None, index)
    assert selection.levels == tuple(2 if chunk in {0, 5, *expected} else 32 for chunk in range(6))
    assert selection.moments == tuple(expected)
    assert selection.scores is None


@pytest.mark.parametrize("moments", ["", " , ", "soon", "1:2:3:4", "-3", "2s-", "5x-7x", "²", "9s-3s"])
def test_moments_that_can_not_be_read_are_an_error(moments: str) -> None:
    with pytest.raises(SettingsError, match=r"^[^\n]+$"):
        Manual.parse(moments)


@pytest.mark.parametrize("ranges", [((9.0, 3.0),), ((math.nan, 3.0),), ((1.0, math.nan),)])
def test_time_ranges_that_run_backwards_are_an_error(ranges: tuple) -> None:
    with pytest.raises(SettingsError, match="backwards"):
        Manual(ranges_s=ranges)


@pytest.mark.parametrize("moments", ["6", "12s", "13s-20s", "99:00"])
def test_moments_outside_the_video_are_an_error(index: VideoIndex, moments: str) -> None:
    with pytest.raises(SettingsError, match=r"^there is no chunk [^\n]+$"):
        Manual.parse(moments).select(None, index)


# adaptive


def adaptive(index: VideoIndex, scores: list[float], **settings: Any) -> tuple[int, ...]:
    return Adaptive(**settings).select(torch.tensor(scores), index).levels


def test_as_many_chunks_are_read_in_detail_as_stand_out(index: VideoIndex) -> None:
    assert adaptive(index, [0.2, 0.96, 0.3, 0.1, 0.4, 0.3]) == (32, 2, 32, 32, 32, 32)
    assert adaptive(index, [0.2, 0.64, 0.3, 0.1, 0.6, 0.3]) == (32, 2, 32, 32, 2, 32)
    assert adaptive(index, [0.6, 0.58, 0.1, 0.2, 0.1, 0.55]) == (2, 2, 32, 32, 32, 2)
    selection = Adaptive().select(torch.tensor([0.2, 0.6, 0.3, 0.1, 0.64, 0.3]), index)
    assert selection.moments == (4, 1)
    assert selection.notes == ()


def test_what_stands_out_does_not_depend_on_the_scale_of_the_scores(index: VideoIndex) -> None:
    scores = torch.tensor([0.2, 0.64, 0.3, 0.1, 0.6, 0.3])
    for other in (1e6 * scores, scores / 4096, 8 * scores - 3):
        assert Adaptive().select(other, index).levels == Adaptive().select(scores, index).levels


def test_flat_scores_spread_a_budget_over_the_whole_video_level_by_level(three_levels: VideoIndex) -> None:
    for scores in ([0.3] * 6, [0.9, 0.9, 0.9, 0.9, 0.1, 0.2]):
        enough = three_levels.tokens((8,) * 6)
        assert adaptive(three_levels, scores, cache_tokens=enough) == (8,) * 6
        assert adaptive(three_levels, scores, cache_tokens=enough - 3 * 27) == (8, 32, 8, 32, 8, 32)
        assert adaptive(three_levels, scores, cache_tokens=enough + 2 * 108) == (2, 8, 8, 8, 2, 8)
        selection = Adaptive(enough).select(torch.tensor(scores), three_levels)
        assert selection.moments == ()
        assert selection.notes == ()


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 16, 50])
def test_every_beginning_of_the_spread_order_leaves_no_wide_gap(count: int) -> None:
    order = spread(count)
    assert sorted(order) == list(range(count))
    for chosen in range(1, count):
        places = sorted(order[:chosen])
        assert max(after - before for before, after in pairwise([*places, count])) <= 2 * math.ceil(count / chosen)


def test_without_a_budget_ten_chunks_are_read_in_detail_at_most(three_levels: VideoIndex) -> None:
    longer = replace(three_levels, entries=three_levels.entries * 10)
    best = [1.0] * 25 + [0.0] * 35
    assert adaptive(longer, best) == (2,) * 10 + (32,) * 50
    flat = adaptive(longer, [0.0] * 60)
    assert set(flat) == {8, 32}
    assert 10 * 135 - 27 < longer.tokens(flat) - longer.tokens((32,) * 60) <= 10 * 135
    assert adaptive(longer, best, cache_tokens=10**9) == (2,) * 25 + (32,) * 35


def test_a_budget_reads_the_best_chunks_and_says_what_it_has_no_room_for(three_levels: VideoIndex) -> None:
    scores = torch.tensor([0.2, 0.6, 0.3, 0.1, 0.64, 0.3])
    enough = three_levels.tokens((32, 2, 32, 32, 2, 32))
    assert Adaptive(enough).select(scores, three_levels) == Adaptive().select(scores, three_levels)
    selection = Adaptive(enough - 1).select(scores, three_levels)
    assert selection.levels == (32, 8, 32, 32, 2, 32)
    assert selection.moments == (4, 1)
    (note,) = selection.notes
    assert f"{enough - 1} tokens have no room" in note


def test_a_budget_in_bytes_is_one_in_tokens(three_levels: VideoIndex) -> None:
    kv = three_levels.kv(0, 2)
    assert three_levels.token_bytes == kv.nbytes // len(kv)
    scores = torch.tensor([0.2, 0.6, 0.3, 0.1, 0.64, 0.3])
    for tokens in range(three_levels.tokens((32,) * 6), three_levels.tokens((2,) * 6), 50):
        levels = Adaptive(cache_bytes=tokens * three_levels.token_bytes + 5).select(scores, three_levels).levels
        assert levels == Adaptive(tokens).select(scores, three_levels).levels
        assert levels == Adaptive(tokens, cache_bytes=10**12).select(scores, three_levels).levels


def test_more_of_a_budget_never_reads_a_chunk_less_finely(three_levels: VideoIndex) -> None:
    """Over random scores, levels, chunk sizes and budgets, among them chunks without KVs and levels of equal size."""
    chance = random.Random(0)
    for trial in range(80):
        levels = tuple(sorted(chance.sample((1, 2, 3, 8, 32, 288), chance.randint(1, 4))))
        entries = []
        for entry in (three_levels.entries * 4)[: chance.randint(1, 24)]:
            raw_tokens = chance.choice((288, 288, 144, 7, 1))
            tokens = {level: raw_tokens // level for level in levels}
            entries.append(replace(entry, raw_tokens=raw_tokens, tokens=tokens))
        spec = replace(three_levels.spec, compressor={**three_levels.spec.compressor, "levels": levels})
        index = replace(three_levels, spec=spec, entries=tuple(entries))
        scores = torch.randn(len(entries), generator=torch.Generator().manual_seed(trial)).exp()
        scores = torch.zeros(len(entries)) if trial % 10 == 0 else scores * 10.0 ** chance.randint(-6, 6)
        scores = scores.round() if trial % 3 == 0 else scores
        fine_edges = chance.random() < 0.5
        least, most = (index.tokens((level,) * len(entries)) for level in (levels[-1], levels[0]))
        before = (levels[-1],) * len(entries)
        for budget in sorted(chance.randint(least, most) for _ in range(20)):
            selector = Adaptive(budget, fine_edges=fine_edges)
            selection = selector.select(scores, index)
            assert index.tokens(selection.levels) <= budget
            assert all(now <= then for now, then in zip(selection.levels, before, strict=True))
            assert selection == selector.select(scores, index)
            wider = selector.widened(selection, index)
            if wider is not None:
                assert index.tokens(wider.levels) <= budget
                assert all(now <= then for now, then in zip(wider.levels, selection.levels, strict=True))
                assert wider.levels != selection.levels
            before = selection.levels


def test_the_first_and_last_chunk_come_first_where_that_is_asked_for(three_levels: VideoIndex) -> None:
    scores = [0.2, 0.2, 0.9, 0.3, 0.1, 0.2]
    assert adaptive(three_levels, scores) == (32, 32, 2, 32, 32, 32)
    assert adaptive(three_levels, scores, fine_edges=True) == (2, 32, 2, 32, 32, 2)
    room_for_two = three_levels.tokens((2, 32, 32, 32, 32, 2))
    selection = Adaptive(room_for_two, fine_edges=True).select(torch.tensor(scores), three_levels)
    assert selection.levels == (2, 32, 32, 32, 32, 2)
    assert selection.moments == ()
    assert len(selection.notes) == 1


def test_a_budget_that_is_too_small_names_the_least(three_levels: VideoIndex) -> None:
    least, prompt, scores = three_levels.tokens((32,) * 6), len(three_levels.prompt), torch.rand(6)
    assert Adaptive(least).select(scores, three_levels).levels == (32,) * 6
    needs = rf"needs {least} tokens, {least * three_levels.token_bytes} bytes, at its coarsest level, 32x"
    with pytest.raises(SettingsError, match=rf"^cache_tokens={least - 1} is too small .* {needs}: pass that or more$"):
        Adaptive(least - 1).select(scores, three_levels)
    with pytest.raises(SettingsError, match=rf"^cache_tokens={prompt - 1} .* {needs}, {prompt} of them for the prompt"):
        Adaptive(prompt - 1).select(scores, three_levels)
    size = (least - 1) * three_levels.token_bytes
    with pytest.raises(SettingsError, match=rf"^cache_bytes={size}, room for {least - 1} tokens, .* {needs}"):
        Adaptive(cache_bytes=size).select(scores, three_levels)
    for wrong in ({"cache_tokens": 0}, {"cache_bytes": 0}, {"cache_tokens": 1.5}):
        with pytest.raises(SettingsError, match=f"{next(iter(wrong))}="):
            Adaptive(**wrong)


# a wider selection


def test_a_wider_selection_adds_the_next_best_chunks(index: VideoIndex) -> None:
    selection = TopK(1, fine_edges=False).select(SCORES, index)
    wider = TopK(1, fine_edges=False).widened(selection, index)
    assert wider is not None
    assert (wider.levels, wider.moments) == ((2, 32, 2, 32, 2, 2), (0, 5, 2, 4))
    assert wider.scores == selection.scores


def test_nothing_is_wider_than_the_whole_video_or_without_scores(index: VideoIndex) -> None:
    assert TopK(6).widened(TopK(6).select(SCORES, index), index) is None
    assert Even(1).widened(Even(1).select(None, index), index) is None


def test_a_wider_selection_keeps_to_the_budget(index: VideoIndex) -> None:
    selector = Adaptive(index.tokens((2, 32, 32, 32, 32, 2)))
    selection = selector.select(torch.tensor([0.9, 0.1, 0.1, 0.1, 0.1, 0.2]), index)
    wider = selector.widened(selection, index)
    assert wider is not None
    assert (selection.levels, wider.levels) == ((2, 32, 32, 32, 32, 32), (2, 32, 32, 32, 32, 2))
    assert selector.widened(wider, index) is None


# what is stored is read


@pytest.mark.parametrize("selector", [TopK(), Even(), Manual((1,))])
def test_levels_that_nothing_would_read_are_refused_before_anything_is_indexed(
    engine: VideoX2L, selector: Selector
) -> None:
    three, four = SummaryTokens((2, 8, 32)), SummaryTokens((2, 4, 8, 32))
    with pytest.raises(SettingsError, match=r"nothing would read level 8 of 2,8,32"):
        replace(engine, compressor=three, selector=selector)
    for oracle in (QueryKey(level=8), Temporal(Fusion((Probe(level=8), QueryKey())))):
        assert replace(engine, compressor=three, selector=selector, oracle=oracle).selector == selector
    with pytest.raises(SettingsError, match=r"nothing would read level 4"):
        replace(engine, compressor=four, selector=selector, oracle=QueryKey(level=8))


def test_adaptive_and_one_level_may_read_any_level(engine: VideoX2L) -> None:
    for selector in (Adaptive(), Adaptive(600), OneLevel(8), OneLevel()):
        assert replace(engine, compressor=SummaryTokens((2, 8, 32)), selector=selector).selector == selector
    with pytest.raises(SettingsError, match="level 4"):
        replace(engine, compressor=SummaryTokens((2, 8, 32)), selector=OneLevel(4))


def test_the_engine_reads_the_middle_level_that_a_budget_chooses(engine: VideoX2L, three_levels: VideoIndex) -> None:
    budget = three_levels.tokens((8, 32, 32, 32, 32, 32)) + 3
    answer = engine.ask(three_levels, "What is it?", selector=Adaptive(budget))
    assert 8 in {chunk.level for chunk in answer.chunks}
    assert answer.cache_tokens <= budget
    assert [chunk.ratio for chunk in answer.chunks] == [float(chunk.level) for chunk in answer.chunks]


# the registry


def test_every_selector_goes_by_its_name() -> None:
    of_frames = {name: {"cache_tokens": 9} for name in SELECTORS.names if name.startswith("frames_")}
    settings: dict[str, dict[str, Any]] = {"manual": {"chunks": (1,)}} | of_frames
    made = {name: SELECTORS.make(name, **settings.get(name, {})) for name in SELECTORS.names}
    assert made == {
        "adaptive": Adaptive(),
        "even": Even(),
        "frames_adaq": QuasiGaussian(9),
        "frames_aks": AdaptiveKeyframes(9),
        "frames_bolt": InverseTransform(9),
        "frames_top_k": TopFrames(9),
        "frames_uniform": UniformFrames(9),
        "manual": Manual((1,)),
        "one_level": OneLevel(),
        "top_k": TopK(3),
    }
    assert make_selector("top_k") == TopK(3)
    assert make_selector(Even(2)) == Even(2)


@pytest.mark.parametrize(
    ("name", "message"),
    [("best", "'best' is unknown: pass one of adaptive, even"), ("manual", "moments")],
)
def test_a_selector_that_can_not_be_made_by_name_is_an_error(engine: VideoX2L, name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        replace(engine, selector=name)


# left out


def test_chunks_that_are_not_chosen_can_be_left_out(three_levels: VideoIndex) -> None:
    chosen = (2, NOTHING, NOTHING, 2, NOTHING, 2)
    assert TopK(1, leaves_out=True).select(SCORES.eq(SCORES[3]).float(), three_levels).levels == chosen
    assert Manual((3,), leaves_out=True).select(None, three_levels).levels == chosen
    assert Manual.parse("3", fine_edges=False, leaves_out=True).select(None, three_levels).levels == (
        *(NOTHING, NOTHING, NOTHING, 2, NOTHING, NOTHING),
    )
    assert Even(1, leaves_out=True, fine_edges=False).select(None, three_levels).levels.count(NOTHING) == 5
    assert three_levels.tokens(chosen) == len(three_levels.prompt) + 3 * 144


def test_a_budget_that_leaves_chunks_out_reads_the_best_ones_only(three_levels: VideoIndex) -> None:
    budgets = [len(three_levels.prompt) + room for room in (0, 9, 36, 9 * 6, 200, 600, 6 * 144)]
    before: tuple[int, ...] = (NOTHING,) * 6
    for budget in budgets:
        levels = Adaptive(budget, leaves_out=True).select(SCORES, three_levels).levels
        assert three_levels.tokens(levels) <= budget
        assert all(now <= then for now, then in zip(levels, before, strict=True))
        before = levels
    assert {2, NOTHING} == set(before)
    only_one = Adaptive(budgets[1], leaves_out=True).select(SCORES, three_levels).levels
    assert [chunk for chunk, level in enumerate(only_one) if level != NOTHING] == [int(SCORES.argmax())]


def test_an_answer_says_what_was_left_out(engine: VideoX2L, three_levels: VideoIndex) -> None:
    answer = engine.ask(three_levels, "What is it?", selector=Manual((3,), leaves_out=True, fine_edges=False))
    read = [(chunk["level"], chunk["ratio"]) for chunk in answer.to_json()["chunks"]]
    assert read == [("nothing", None)] * 3 + [(2, 2.0)] + [("nothing", None)] * 2
    assert answer.cache_tokens == len(three_levels.prompt) + 144
