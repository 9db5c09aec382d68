"""Relevance oracles, one per file, and the registry that makes one by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from videox2l.errors import SettingsError
from videox2l.oracles.attention import Attention
from videox2l.oracles.base import Oracle
from videox2l.oracles.contrastive import Contrastive
from videox2l.oracles.dual_encoder import DualEncoder
from videox2l.oracles.manual import Manual
from videox2l.oracles.probe import Probe
from videox2l.oracles.qk import QueryKey
from videox2l.oracles.random import Random
from videox2l.oracles.uniform import Uniform


@dataclass(frozen=True)
class OracleSettings:
    """What the front doors let a user set of an oracle.

    k: chunks to re-load. seed: for "random". moments: for "manual". encoder: for "contrastive".
    """

    k: int = 3
    seed: int = 0
    moments: str = ""
    encoder: DualEncoder | None = None


def contrastive(settings: OracleSettings) -> Contrastive:
    """The contrastive oracle. Raises: SettingsError without a dual encoder."""
    if settings.encoder is None:
        raise SettingsError(
            "the contrastive oracle needs a dual encoder: pass --encoder with a CLIP or SigLIP hub id or directory"
        )
    return Contrastive(settings.encoder)


ORACLES: dict[str, Callable[[OracleSettings], Oracle]] = {
    "attention": lambda settings: Attention(),
    "contrastive": contrastive,
    "manual": lambda settings: Manual.parse(settings.moments),
    "probe": lambda settings: Probe(),
    "qk": lambda settings: QueryKey(),
    "random": lambda settings: Random(settings.seed),
    "uniform": lambda settings: Uniform(settings.k),
}


def make_oracle(name: str, settings: OracleSettings) -> Oracle:
    """The oracle of a name. Raises: SettingsError for an unknown one."""
    if name not in ORACLES:
        raise SettingsError(f"oracle {name!r} is unknown: pass one of {', '.join(sorted(ORACLES))}")
    return ORACLES[name](settings)
