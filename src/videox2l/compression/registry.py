"""Every compressor by name, and the one a model gets by default."""

from __future__ import annotations

from typing import Any

from videox2l.compression.base import Compressor
from videox2l.models.base import MLLM
from videox2l.registry import Registry

COMPRESSORS: Registry[Compressor] = Registry(
    "compressor",
    {
        "attention": "videox2l.compression.attention:Attention",
        "combination": "videox2l.compression.combination:Combination",
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


def default_compressor(model: MLLM, **settings: Any) -> Compressor:
    """The compressor the model was published with, as its own visual summary tokens, else the best one measured."""
    return COMPRESSORS.make(model.compressor, **settings)
