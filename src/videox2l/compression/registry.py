"""Every compressor by name, and the one a model gets by default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from videox2l.errors import SettingsError
from videox2l.levels import FRESH, kept_levels
from videox2l.registry import Registry

if TYPE_CHECKING:
    from videox2l.compression.base import Compressor
    from videox2l.models.base import MLLM

COMPRESSORS: Registry[Compressor] = Registry(
    "compressor",
    {
        "attention": "videox2l.compression.snapkv:SnapKV",
        "combination": "videox2l.compression.combination:Combination",
        "fresh": "videox2l.compression.fresh:Fresh",
        "group_pooling": "videox2l.compression.group_pooling:GroupPooling",
        "keydiff": "videox2l.compression.keydiff:KeyDiff",
        "merge": "videox2l.compression.merge:Merge",
        "pool": "videox2l.compression.pool:Pool",
        "random": "videox2l.compression.random:Random",
        "summary_tokens": "videox2l.compression.summary_tokens:SummaryTokens",
        "temporal_redundancy": "videox2l.compression.temporal_redundancy:TemporalRedundancy",
        "uniform": "videox2l.compression.uniform:Uniform",
        "value_norm": "videox2l.compression.value_norm:ValueNorm",
    },
)


def refuse_kvs(model: MLLM) -> NoReturn:
    """Raises: SettingsError that says why chunks of a model can't be kept as KVs."""
    raise SettingsError(
        f"{model.name} has recurrent layers, whose state can't be put together from chunks' KVs: leave levels and "
        "compressor out, and its chunks are kept fresh"
    )


def compressor_for(model: MLLM, name: str | None = None, **settings: Any) -> Compressor:
    """A compressor for a model.

    name: str, default the model's own: the one it was published with, as its visual summary tokens, else the one that
        measured best; "fresh" where that is the only level.
    settings: of that compressor; `positions` are by default the model's own where there is a choice.
    Raises: SettingsError for an unknown name, a setting that the compressor does not have, or KVs of a model that can't
    re-use any.
    """
    if not model.reuses_kvs and (
        name not in (None, "fresh") or kept_levels(settings.get("levels", (FRESH,))) != (FRESH,)
    ):
        refuse_kvs(model)
    if name is None:
        only_fresh = "levels" in settings and kept_levels(settings["levels"]) == (FRESH,)
        name = "fresh" if only_fresh else model.compressor
    if "positions" in COMPRESSORS.settings(name):
        settings = {"positions": model.positions, **settings}
    return COMPRESSORS.make(name, **settings)
