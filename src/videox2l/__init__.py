"""Video-X2L: ask questions about long videos from a KV cache compressed at two levels."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from videox2l.version import __version__

if TYPE_CHECKING:
    from videox2l.answering.answer import Answer
    from videox2l.answering.generation import Generation
    from videox2l.compression.summary_tokens import SummaryTokens
    from videox2l.engine import Chat, VideoX2L
    from videox2l.errors import VideoX2LError
    from videox2l.index.video_index import VideoIndex
    from videox2l.levels import FRESH, NOTHING
    from videox2l.selection.adaptive import Adaptive
    from videox2l.selection.even import Even
    from videox2l.selection.manual import Manual
    from videox2l.selection.one_level import OneLevel
    from videox2l.selection.top_k import TopK
    from videox2l.types import Moment
    from videox2l.video import FrameArray, Sampling

__all__ = [
    "FRESH",
    "NOTHING",
    "Adaptive",
    "Answer",
    "Chat",
    "Even",
    "FrameArray",
    "Generation",
    "Manual",
    "Moment",
    "OneLevel",
    "Sampling",
    "SummaryTokens",
    "TopK",
    "VideoIndex",
    "VideoX2L",
    "VideoX2LError",
    "__version__",
]

_HOMES = {
    "FRESH": "levels",
    "NOTHING": "levels",
    "Adaptive": "selection.adaptive",
    "Answer": "answering.answer",
    "Chat": "engine",
    "Even": "selection.even",
    "FrameArray": "video",
    "Generation": "answering.generation",
    "Manual": "selection.manual",
    "Moment": "types",
    "OneLevel": "selection.one_level",
    "Sampling": "video",
    "SummaryTokens": "compression.summary_tokens",
    "TopK": "selection.top_k",
    "VideoIndex": "index.video_index",
    "VideoX2L": "engine",
    "VideoX2LError": "errors",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that the command line starts without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
