"""Video-XL-2 as an MLLM of the engine: official checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from videox2l.models.llava_qwen.adapter import LlavaQwen
from videox2l.models.llava_qwen.model import LlavaQwenModel
from videox2l.models.llava_qwen.vision import pool
from videox2l.models.video_xl_2.config import VideoXL2Config
from videox2l.models.video_xl_2.temporal import GROUP_FRAMES, TemporalModule, frame_groups
from videox2l.models.video_xl_2.timestamps import clock_times_to_seconds, video_ids
from videox2l.models.video_xl_2.vision import GRID, FrameEncoder, vision_config
from videox2l.types import ChunkPlace, Frames, VideoTokens

POOL_STRIDE = 2
TOKENS_PER_GROUP = (GRID // POOL_STRIDE) ** 2

GROUPS_PER_CALL = 24
"""Groups the temporal module takes at once; it bounds memory and changes no value."""


class VideoXL2Model(LlavaQwenModel):
    """A Video-XL-2 checkpoint's `model.*`: plain Qwen2 layers, and the temporal module under its official name.

    config: sizes of all parts but the tower's. vision: configuration of the tower.
    """

    def __init__(self, config: VideoXL2Config, vision: dict[str, Any]):
        super().__init__(config, FrameEncoder(vision))
        self.sae = TemporalModule(config.mm_hidden_size)


class VideoXL2(LlavaQwen):
    """A Video-XL-2 checkpoint (arXiv 2506.19225): SigLIP tower, temporal module, projector, Qwen2."""

    frame_group = GROUP_FRAMES
    chunk_frames = 4 * GROUP_FRAMES
    compressor = "group_pooling"
    config: VideoXL2Config
    model: VideoXL2Model

    def __init__(
        self, config: VideoXL2Config, vision: dict[str, Any], tokenizer: PreTrainedTokenizerBase, **settings: Any
    ):
        """An adapter.

        vision: configuration of the vision tower, as in vision_config.json. The others as for `LlavaQwen`.
        """
        super().__init__(config, VideoXL2Model(config, vision), tokenizer, **settings)

    @classmethod
    def accepts(cls, config: Mapping[str, Any]) -> bool:
        """Whether a config.json is of this family: Video-XL's model_type without its summary tokens."""
        return config.get("model_type") == cls.model_type and not config.get("enable_beacon", False)

    @classmethod
    def parts(cls, directory: Path) -> tuple[VideoXL2Config, dict[str, Any]]:
        """Configuration of the checkpoint and of its tower."""
        config = VideoXL2Config.from_directory(directory)
        return config, vision_config(directory, config)

    def group_tokens(self, maps: Tensor) -> Tensor:
        """Feature maps (T, C, 24, 24) -> visual tokens (ceil(T / 4), 144, hidden)."""
        tokens = []
        for groups in frame_groups(maps).split(GROUPS_PER_CALL):
            fused = self.model.sae(groups).flatten(2).transpose(1, 2)  # (G, C, 24, 24) -> (G, 576, C)
            tokens.append(pool(self.model.mm_projector(fused), POOL_STRIDE))
        return torch.cat(tokens)

    def visual_tokens(self, frames: Frames, place: ChunkPlace) -> VideoTokens:
        """One chunk's groups, each with its time text; a group counts as one frame."""
        visual = self.group_tokens(self.model.vision_tower(frames.pixels))  # (G, 144, hidden)
        times_s = frames.timestamps_s[::GROUP_FRAMES].tolist()
        placeholder = self.config.visual_placeholder_id
        ids, group = (
            tensor.to(self.device) for tensor in video_ids(times_s, TOKENS_PER_GROUP, placeholder, self.tokenizer)
        )
        is_text = ids != placeholder
        embeddings = self.embed(ids.masked_fill(ids == placeholder, 0))
        embeddings[~is_text] = visual.flatten(0, 1)
        positions = torch.arange(place.next_position, place.next_position + len(ids), device=self.device)
        return VideoTokens(embeddings, positions, is_text, group.to(self.device))

    def wording(self, question: str) -> str:
        """Clock times become seconds."""
        return clock_times_to_seconds(question)
