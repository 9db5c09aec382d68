"""Videos, from any source, as a stream of chunks of sampled frames with their timestamps."""

from .array import FrameArray
from .folder import ImageFolder
from .open import open_video
from .sampling import Sampling
from .video import Video

__all__ = ["FrameArray", "ImageFolder", "Sampling", "Video", "open_video"]
