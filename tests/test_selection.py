"""The k most relevant chunks are read in detail; chunks that are fine anyway need no place among them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from videox2l import SummaryTokens, VideoIndex, VideoX2L
from videox2l.errors import SettingsError
from videox2l.selection.top_k import select_top_k


@pytest.fixture
def index(engine: VideoX2L, made_clip: Path) -> VideoIndex:
    """Six chunks."""
    return engine.index(made_clip)


SCORES = torch.tensor([0.9, 0.1, 0.5, 0.2, 0.4, 0.8])


def fine(scores: torch.Tensor, index: VideoIndex, k: int | None, fine_edges: bool = False) -> list[int]:
    levels = select_top_k(scores, index, k, fine_edges).levels
    assert set(levels) <= {2, 32}
    return [chunk for chunk, level in enumerate(levels) if level == 2]


def test_the_k_most_relevant_chunks_get_the_finest_level(index: VideoIndex) -> None:
    assert [fine(SCORES, index, k) for k in range(4)] == [[], [0], [0, 5], [0, 2, 5]]


def test_edges_need_no_place_among_the_k(index: VideoIndex) -> None:
    assert [fine(SCORES, index, k, True) for k in range(4)] == [[0, 5], [0, 2, 5], [0, 2, 4, 5], [0, 2, 3, 4, 5]]


def test_edges_that_are_fine_at_every_level_stay_as_they_are(engine: VideoX2L, made_clip: Path) -> None:
    index = replace(engine, compressor=SummaryTokens(passes="two_pass")).index(made_clip)
    assert [fine(SCORES, index, k, True) for k in range(4)] == [[], [2], [2, 4], [2, 3, 4]]


@pytest.mark.parametrize("k", [6, 7, 1000])
def test_a_k_beyond_the_chunks_selects_all(index: VideoIndex, k: int) -> None:
    for fine_edges in (False, True):
        assert fine(SCORES, index, k, fine_edges) == [0, 1, 2, 3, 4, 5]


def test_ties_go_to_the_earlier_chunk(index: VideoIndex) -> None:
    assert fine(torch.ones(6), index, 2) == [0, 1]
    assert fine(torch.tensor([0.0, 1, 0, 1, 1, 0]), index, 2) == [1, 3]


def test_without_k_every_chunk_scored_above_0_is_selected(index: VideoIndex) -> None:
    assert fine(torch.tensor([0.0, 1, 0, 0, 1, 1]), index, None) == [1, 4, 5]
    assert fine(torch.zeros(6), index, None) == []


def test_moments_are_the_best_of_what_is_read_in_detail(index: VideoIndex) -> None:
    assert select_top_k(SCORES, index, 2).moments == (0, 5)  # the edges are read in detail too
    assert select_top_k(SCORES, index, 3).moments == (0, 5, 2)
    assert select_top_k(SCORES, index, 3, fine_edges=False).moments == (0, 5, 2)
    assert select_top_k(torch.tensor([0.0, 1, 0, 0, 1, 0]), index, None).moments == (1, 4)
    assert select_top_k(SCORES, index, 0).moments == ()


def test_scores_are_kept_with_the_selection(index: VideoIndex) -> None:
    assert select_top_k(SCORES, index, 1).scores == tuple(SCORES.tolist())


def test_three_levels_use_the_finest_and_the_coarsest(engine: VideoX2L, made_clip: Path) -> None:
    index = replace(engine, compressor=SummaryTokens((2, 8, 32))).index(made_clip)
    assert select_top_k(SCORES, index, 1).levels == (2, 32, 2, 32, 32, 2)


def test_a_negative_k_is_an_error(index: VideoIndex) -> None:
    with pytest.raises(SettingsError, match="k=-1"):
        select_top_k(SCORES, index, -1)
