"""Video-XL as an MLLM of the engine: official checkpoints, and nano, which is one more of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from videox2l.kv.cache import KVCache
from videox2l.models.llava_qwen.adapter import LlavaQwen
from videox2l.models.video_xl.config import VideoXLConfig
from videox2l.models.video_xl.model import VideoXLModel
from videox2l.models.video_xl.vision import VisualEncoder, build_tower, image_processor, vision_config
from videox2l.models.video_xl.window import Window
from videox2l.types import KV, ChunkPlace, Frames, VideoTokens

if TYPE_CHECKING:
    from transformers import CLIPImageProcessorPil, PreTrainedTokenizerBase


class VideoXL(LlavaQwen):
    """A Video-XL checkpoint (arXiv 2409.14485): CLIP tower, projector, Qwen2 with visual summary tokens."""

    config: VideoXLConfig
    model: VideoXLModel
    compressor = "summary_tokens"

    def __init__(
        self,
        config: VideoXLConfig,
        vision: dict[str, Any],
        make_image_processor: Callable[[], CLIPImageProcessorPil],
        tokenizer: PreTrainedTokenizerBase,
        **settings: Any,
    ):
        """An adapter.

        vision: configuration of the vision tower, as in vision_config.json. make_image_processor: see `VisualEncoder`.
        The others as for `LlavaQwen`.
        """
        super().__init__(config, VideoXLModel(config, build_tower(vision, config)), tokenizer, **settings)
        self.encoder = VisualEncoder(
            self.model.vision_tower, self.model.mm_projector, make_image_processor, config.mm_spatial_pool_stride
        )

    @classmethod
    def accepts(cls, config: Mapping[str, Any]) -> bool:
        """Whether a config.json is of this family: the model_type, which it shares, and summary tokens."""
        return config.get("model_type") == cls.model_type and bool(config.get("enable_beacon", False))

    @classmethod
    def parts(cls, directory: Path) -> tuple[VideoXLConfig, dict[str, Any], Callable[[], CLIPImageProcessorPil]]:
        """Configuration of the checkpoint and of its tower, and what makes its image processor."""
        config = VideoXLConfig.from_directory(directory)
        vision = vision_config(directory, config)
        return config, vision, partial(image_processor, directory, vision.get("image_size", 336))

    def visual_tokens(self, frames: Frames, place: ChunkPlace) -> VideoTokens:
        """One chunk's visual tokens, row by row, frame after frame; no text stands among them."""
        tokens = self.encoder(frames.pixels)  # (T, tokens per frame, hidden)
        if self.config.mm_token_norm == "rms":
            tokens = F.rms_norm(tokens, tokens.shape[-1:], eps=self.config.rms_norm_eps)
        if self.config.frame_time_first_token_id is not None:
            step = (frames.timestamps_s / self.config.frame_time_step_s + 1e-3).floor().long()
            ids = self.config.frame_time_first_token_id + step.clamp(0, self.config.frame_time_tokens - 1)
            tokens = tokens + self.embed(ids)[:, None]
        return VideoTokens.of_frames(tokens, place.next_position)

    def summary_inputs(self, raw: Tensor, ends: tuple[int, ...], ratio: int) -> Tensor:
        """Embeddings of the summary tokens that stand after `ends` raw tokens of a window, (len(ends), hidden)."""
        ratios = self.config.beacon_embed_ratios
        row = 0
        if ratios:
            row = min(range(len(ratios)), key=lambda index: abs(math.log(ratios[index] / ratio)))
        embedding = self.model.beacon_embed_tokens.weight[row].expand(len(ends), -1)
        if self.config.beacon_embed_mean and ends:
            spans = zip((0, *ends[:-1]), ends, strict=True)
            embedding = embedding + torch.stack([raw[start:end].mean(dim=0) for start, end in spans])
        return embedding

    def compress(self, raw: Tensor, window: Window, memory: KVCache) -> dict[int, KV]:
        """Run one window behind the memory; the KVs of each of its ratios, positions as in the main stream."""
        main = raw.new_empty(window.main_tokens, raw.shape[1])
        main[window.raw_offsets.to(raw.device)] = raw
        main[window.summary_offsets.to(raw.device)] = self.summary_inputs(raw, window.ends, window.ratio)
        extra = [self.summary_inputs(raw, ends, ratio) for ratio, ends in window.extra.items()]
        keys, values = self.model.compress(torch.cat([main, *extra]), window, memory)
        positions = memory.next_position + window.positions[window.kept]
        sizes = [len(window.kept_offsets), *map(len, window.extra.values())]
        parts = zip(keys.split(sizes, 2), values.split(sizes, 2), positions.split(sizes), strict=True)
        return dict(zip((window.ratio, *window.extra), (KV(*part) for part in parts), strict=True))
