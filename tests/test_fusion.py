"""Oracles made of oracles: rankings fused, scores smoothed along time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.oracles.attention import Attention
from videox2l.oracles.base import Oracle
from videox2l.oracles.contrastive import Contrastive
from videox2l.oracles.fusion import Fusion
from videox2l.oracles.manual import Manual
from videox2l.oracles.qk import QueryKey
from videox2l.oracles.registry import OracleSettings, make_oracle
from videox2l.oracles.temporal import Temporal


@dataclass(frozen=True)
class Fixed(Oracle):
    """Scores given beforehand."""

    scores: tuple[float, ...]

    def score(self, model, index, question) -> Tensor:
        return torch.tensor(self.scores)


@dataclass
class Index:
    entries: range


def test_fusion_adds_reciprocal_ranks_whatever_the_scales():
    fused = Fusion((Fixed((0.9, 0.1, 0.5)), Fixed((-7.0, 100.0, -7.0)))).score(None, Index(range(3)), "")
    expected = [1 / 61 + 1 / 62.5, 1 / 63 + 1 / 61, 1 / 62 + 1 / 62.5]  # equal scores share the mean rank
    torch.testing.assert_close(fused, torch.tensor(expected))


def test_smoothing_spreads_a_peak_and_keeps_a_constant():
    index = Index(range(7))
    peak = Temporal(Fixed((0, 0, 0, 1, 0, 0, 0)), width=1.0).score(None, index, "")
    assert int(peak.argmax()) == 3
    assert peak[2] > peak[1] > peak[0] > 0
    flat = Temporal(Fixed((2.0,) * 7)).score(None, index, "")
    torch.testing.assert_close(flat, torch.full((7,), 2.0))


def test_names_joined_by_plus_are_fused_and_smoothing_wraps_them():
    assert make_oracle("attention+qk", OracleSettings()) == Fusion((Attention(), QueryKey()))
    assert make_oracle("fusion", OracleSettings()) == Fusion((Attention(), QueryKey()))
    assert make_oracle("qk", OracleSettings(smoothing=2.0)) == Temporal(QueryKey(), 2.0)


def test_fusions_that_can_not_be_are_named():
    with pytest.raises(SettingsError, match="'magic' is unknown"):
        make_oracle("attention+magic", OracleSettings())
    with pytest.raises(SettingsError, match="two or more oracles that score"):
        Fusion((Attention(), Manual((1,))))
    with pytest.raises(SettingsError, match="above 0"):
        make_oracle("qk", OracleSettings(smoothing=-1.0))
    with pytest.raises(SettingsError, match="can't be smoothed"):
        make_oracle("manual", OracleSettings(moments="1", smoothing=1.0))


def test_a_question_longer_than_the_text_tower_is_cut_at_a_word_and_said_so():
    class Short:
        def readable(self, text: str) -> str:
            return " ".join(text.split()[:3])

    contrastive = Contrastive(Short())
    assert contrastive.notes("one two three") == ()
    (note,) = contrastive.notes("one two three four five")
    assert "3 of the question's 5 words" in note
    assert Temporal(Fusion((contrastive, Attention()))).notes("one two three four") != ()
