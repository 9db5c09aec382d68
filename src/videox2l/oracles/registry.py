"""Every relevance oracle by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from videox2l.errors import SettingsError
from videox2l.oracles.attention import Attention
from videox2l.oracles.base import Oracle
from videox2l.oracles.contrastive import Contrastive
from videox2l.oracles.fusion import Fusion
from videox2l.oracles.manual import Manual
from videox2l.oracles.probe import Probe
from videox2l.oracles.qk import QueryKey
from videox2l.oracles.random import Random
from videox2l.oracles.temporal import Temporal
from videox2l.oracles.uniform import Uniform
from videox2l.tracks.dual_encoder import DualEncoder


@dataclass(frozen=True)
class OracleSettings:
    """What the front doors let a user set of an oracle.

    k: chunks to re-load. seed: for "random". moments: for "manual". encoder: for "contrastive". smoothing: width in
    chunks over which scores are smoothed; 0 leaves them as they are.
    """

    k: int = 3
    seed: int = 0
    moments: str = ""
    encoder: DualEncoder | None = None
    smoothing: float = 0.0


def contrastive(settings: OracleSettings) -> Contrastive:
    """The contrastive oracle. Raises: SettingsError without a dual encoder."""
    if settings.encoder is None:
        raise SettingsError(
            "the contrastive oracle needs a dual encoder: pass --encoder with a CLIP or SigLIP hub id or directory"
        )
    return Contrastive(settings.encoder)


def fusion(settings: OracleSettings) -> Fusion:
    """The fusion of the model's own oracles, and of the contrastive one where there is an encoder."""
    own = (Attention(), QueryKey())
    return Fusion((contrastive(settings), *own) if settings.encoder else own)


ORACLES: dict[str, Callable[[OracleSettings], Oracle]] = {
    "attention": lambda settings: Attention(),
    "contrastive": contrastive,
    "fusion": fusion,
    "manual": lambda settings: Manual.parse(settings.moments),
    "probe": lambda settings: Probe(),
    "qk": lambda settings: QueryKey(),
    "random": lambda settings: Random(settings.seed),
    "uniform": lambda settings: Uniform(settings.k),
}


def make_oracle(name: str, settings: OracleSettings) -> Oracle:
    """The oracle of a name, or the fusion of several joined by "+", as in "attention+qk".

    Raises: SettingsError for an unknown name, or one that lacks what it needs.
    """
    unknown = [part for part in name.split("+") if part not in ORACLES]
    if unknown:
        raise SettingsError(f"oracle {unknown[0]!r} is unknown: pass one of {', '.join(sorted(ORACLES))}")
    parts = tuple(ORACLES[part](settings) for part in name.split("+"))
    oracle = parts[0] if len(parts) == 1 else Fusion(parts)
    return Temporal(oracle, settings.smoothing) if settings.smoothing else oracle
