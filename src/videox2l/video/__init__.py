"""Videos, from any source, as a stream of chunks of sampled frames with their timestamps."""

from videox2l.video.array import FrameArray
from videox2l.video.folder import ImageFolder
from videox2l.video.open import open_video
from videox2l.video.sampling import Sampling
from videox2l.video.video import Reading, Video

__all__ = ["FrameArray", "ImageFolder", "Reading", "Sampling", "Video", "open_video"]
