"""Video-X2L: ask questions about long videos from a KV cache compressed at two levels."""

from videox2l.answer import Answer
from videox2l.compression.summary_tokens import SummaryTokens
from videox2l.engine import Chat, VideoX2L
from videox2l.errors import VideoX2LError
from videox2l.generation import Generation
from videox2l.index import VideoIndex
from videox2l.video import FrameArray, Sampling

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Chat",
    "FrameArray",
    "Generation",
    "Sampling",
    "SummaryTokens",
    "VideoIndex",
    "VideoX2L",
    "VideoX2LError",
]
