"""Compression: drive the model over one chunk after another, keep each chunk's KVs at every level."""

from __future__ import annotations

from typing import Any

from videox2l.compression.attention import Attention
from videox2l.compression.base import Compression, Compressor
from videox2l.compression.combination import Combination
from videox2l.compression.group_pooling import GroupPooling
from videox2l.compression.keydiff import KeyDiff
from videox2l.compression.merge import Merge
from videox2l.compression.pool import Pool
from videox2l.compression.random import Random
from videox2l.compression.summary_tokens import SummaryTokens
from videox2l.compression.temporal_redundancy import TemporalRedundancy
from videox2l.compression.uniform import Uniform
from videox2l.compression.value_norm import ValueNorm
from videox2l.errors import SettingsError
from videox2l.models.base import MLLM
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.models.video_xl_2.adapter import VideoXL2

__all__ = ["COMPRESSORS", "Compression", "Compressor", "default_compressor", "make_compressor"]

COMPRESSORS: dict[str, type[Compressor]] = {
    "attention": Attention,
    "combination": Combination,
    "group_pooling": GroupPooling,
    "keydiff": KeyDiff,
    "merge": Merge,
    "pool": Pool,
    "random": Random,
    "summary_tokens": SummaryTokens,
    "temporal_redundancy": TemporalRedundancy,
    "uniform": Uniform,
    "value_norm": ValueNorm,
}


def make_compressor(name: str, **settings: Any) -> Compressor:
    """The compressor of a name, with its settings.

    Raises: SettingsError for an unknown name, or a setting that the compressor does not have.
    """
    if name not in COMPRESSORS:
        raise SettingsError(f"compressor {name!r} is unknown: pass one of {', '.join(sorted(COMPRESSORS))}")
    try:
        return COMPRESSORS[name](**settings)
    except TypeError as error:
        raise SettingsError(f"compressor {name} does not take these settings: {error}") from error


def default_compressor(model: MLLM, **settings: Any) -> Compressor:
    """The way the model was published with, as its own visual summary tokens, else what kept most when measured."""
    published = {VideoXL: "summary_tokens", VideoXL2: "group_pooling"}
    name = next((name for family, name in published.items() if isinstance(model, family)), "keydiff")
    return make_compressor(name, **settings)
