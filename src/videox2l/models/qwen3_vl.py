"""Qwen3-VL (arXiv 2511.21631): every pair of frames behind its time in text, features of several depths (DeepStack)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

from videox2l.models.forward import Forward
from videox2l.models.qwen_vl import QwenVL, grid_positions
from videox2l.types import ChunkPlace, Frames, VideoOutline, VideoTokens


class Qwen3VL(QwenVL):
    """transformers' Qwen3VLForConditionalGeneration.

    The template's own vision marks give way to those of the frames, as in the processor the model was published with;
    that of transformers 5.23 leaves a second pair around them all.
    """

    model_type = "qwen3_vl"
    video_mark = "<|vision_start|><|video_pad|><|vision_end|>"

    def first_frame_text(self, video: VideoOutline) -> str:
        """The time of the first frame, for want of the first pair's."""
        return self.time_text(video.start_s)

    def time_text(self, seconds: float) -> str:
        """What stands before a pair of frames."""
        return f"<{seconds:.1f} seconds><|vision_start|>"

    def visual_tokens(self, frames: Frames, place: ChunkPlace) -> VideoTokens:
        """For each pair of frames its mean time as text, then its features between the vision marks."""
        inputs = self.prepare(frames.pixels, place.video.frames)
        output = self.model.get_video_features(**inputs, return_dict=True)
        groups, rows, columns = self.merged_grid(inputs["video_grid_thw"])
        features = output.pooler_output[0].to(self.device, self.dtype)
        features = features.unflatten(0, (groups, -1))  # (T, rows * columns, hidden)
        deepstack = [depth[0] for depth in getattr(output, "deepstack_features", None) or ()]
        depths = (
            torch.stack(deepstack).to(features) if deepstack else features.new_empty(0, *features.flatten(0, 1).shape)
        )
        depths = depths.unflatten(1, (groups, -1))  # (depths, T, rows * columns, hidden)

        parts: list[Tensor] = []
        positions: list[Tensor] = []
        deep: list[Tensor] = []
        is_text: list[bool] = []
        sizes: list[int] = []
        next_position = place.next_position
        end = self.embed(self.ids("<|vision_end|>"))  # (1, hidden)
        for group, seconds in enumerate(self.grid_times(frames.timestamps_s).mean(dim=1).tolist()):
            opening = self.embed(self.frame_text_ids(self.time_text(seconds), group, place))
            visual_start = next_position + len(opening)
            visual_end = visual_start + max(rows, columns)
            parts += [opening, features[group], end]
            positions += [
                torch.arange(next_position, visual_start).expand(3, -1),
                grid_positions(torch.tensor([visual_start]), rows, columns, visual_start),
                torch.tensor([visual_end]).expand(3, -1),
            ]
            nothing = depths.new_zeros(depths.shape[0], 1, depths.shape[-1])
            deep += [nothing.expand(-1, len(opening), -1), depths[:, group], nothing]
            is_text += [True] * len(opening) + [False] * (rows * columns) + [True]
            sizes.append(len(opening) + rows * columns + 1)
            next_position = visual_end + 1
        device = features.device
        return VideoTokens(
            torch.cat(parts),
            torch.cat(positions, dim=1).to(device),
            torch.tensor(is_text, device=device),
            torch.arange(groups, device=device).repeat_interleave(torch.tensor(sizes, device=device)),
            torch.cat(deep, dim=1) if deepstack else None,
        )

    def contiguous(self, positions: Tensor, before: Tensor) -> Tensor:
        """Frames and words follow each other without gaps; within a frame, rows and columns keep their distances."""
        time, of = positions[0].unique(return_inverse=True)  # a frame has one time, and so has each word
        reach = (positions.amax(dim=0) - positions[0]).float()
        extent = torch.zeros(len(time), device=reach.device).scatter_reduce(0, of, reach, "amax").long() + 1
        start = int(before.max()) + 1 + extent.cumsum(0) - extent
        return positions + (start - time)[of]

    def frame_size(self, height: int, width: int, frames: int) -> tuple[int, int]:
        """By the pixels of all frames together, as if it had no more frames than the processor samples at most."""
        processor = self.video_processor
        frames = max(min(frames, processor.max_frames), processor.temporal_patch_size)
        least, most = processor.size["shortest_edge"], processor.size["longest_edge"]
        if processor.cap_pixels_per_frame:
            per_frame = min(processor.max_video_tokens * self.token_side**2, most // frames)
            most = max(per_frame, int(least * 1.05)) * frames
        least, most = self.limited(least, most, frames)
        return smart_resize(frames, height, width, processor.temporal_patch_size, self.token_side, least, most)

    def decoder_inputs(self, embeddings: Tensor, forward: Forward) -> dict[str, Any]:
        """With the deep features, which are added behind the first layers."""
        inputs = super().decoder_inputs(embeddings, forward)
        if forward.deepstack is not None:
            inputs["visual_pos_masks"] = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=embeddings.device)
            inputs["deepstack_visual_embeds"] = list(forward.deepstack)
        return inputs
