"""Every relevance oracle by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from videox2l.checks import check_kind
from videox2l.errors import SettingsError
from videox2l.registry import Registry

if TYPE_CHECKING:
    from videox2l.oracles.base import Oracle
    from videox2l.tracks.dual_encoder import DualEncoder

ORACLES: Registry[Oracle] = Registry(
    "oracle",
    {
        "attention": "videox2l.oracles.attention:AttentionOracle",
        "cascade": "videox2l.oracles.cascade:Cascade",
        "contrastive": "videox2l.oracles.contrastive:Contrastive",
        "fusion": "videox2l.oracles.fusion:Fusion",
        "maxsim": "videox2l.oracles.maxsim:MaxSim",
        "probe": "videox2l.oracles.probe:Probe",
        "qk": "videox2l.oracles.qk:QueryKey",
        "random": "videox2l.oracles.random:RandomOracle",
        "subtitles": "videox2l.oracles.subtitles:SubtitleOracle",
        "time": "videox2l.oracles.time:TimeOracle",
    },
)

ENCODERS = ("google/siglip2-base-patch16-224", "openai/clip-vit-base-patch32")
"""Hub ids of dual encoders to suggest."""


def make_oracle(
    oracle: str | Oracle, *, encoder: DualEncoder | None = None, seed: int = 0, smoothing: float = 0.0
) -> Oracle:
    """An oracle by its name.

    oracle: a name, or several joined by "+" for their fusion, as in "maxsim+probe"; "fusion" is that of these two, and
        of the contrastive one where there is an encoder. An oracle that is made already stays as it
        is, but for smoothing.
    encoder: the dual encoder that the video is indexed with, for oracles that have such a setting; by default none.
    seed: for oracles that have such a setting. Default 0.
    smoothing: standard deviation, in chunks, of the Gaussian that smooths the scores along time; 0, the default,
        leaves them as they are.
    Raises: SettingsError for an unknown name, or for an oracle that lacks what it needs.
    """
    if isinstance(oracle, str):
        from videox2l.oracles.fusion import Fusion

        oracles = tuple(_one_oracle(name, encoder, seed) for name in oracle.split("+"))
        oracle = oracles[0] if len(oracles) == 1 else Fusion(oracles)
    from videox2l.oracles.base import Oracle

    check_kind(oracle, Oracle, "oracle", 'its name, as "attention", or one that is made')
    if smoothing:
        from videox2l.oracles.temporal import Temporal

        return Temporal(oracle, smoothing)
    return oracle


def _one_oracle(name: str, encoder: DualEncoder | None, seed: int) -> Oracle:
    if name == "fusion":
        from videox2l.oracles.fusion import Fusion

        names = ["contrastive"] * (encoder is not None) + ["maxsim", "probe"]
        return Fusion(tuple(_one_oracle(name, encoder, seed) for name in names))
    if encoder is None and "encoder" in ORACLES.required(name):
        raise SettingsError(
            f"the {name} oracle needs a dual encoder: pass --encoder with a CLIP or SigLIP hub id, such as "
            f"{ENCODERS[0]} or {ENCODERS[1]}, or a directory"
        )
    known: dict[str, Any] = {"seed": seed} if encoder is None else {"seed": seed, "encoder": encoder}
    return ORACLES.make(name, **{setting: known[setting] for setting in ORACLES.settings(name) if setting in known})
