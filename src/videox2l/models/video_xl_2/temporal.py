"""Video-XL-2's temporal module ("dynamic token synthesis", arXiv 2506.19225): four feature maps become one.

Attention over space, attention over time, a convolution that halves time; twice. Parameters are the checkpoint's
`model.sae.*`. C is the number of channels, T the time slots (4, then 2, then 1), H and W the map's sides.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP_FRAMES = 4
"""Frames whose maps the module joins to one."""

NORM_GROUPS = 32
NORM_EPS = 1e-6
MAX_DISTANCE = 64


class SpatialAttention(nn.Module):
    """Every pixel of a time slot attends to all pixels of the same slot; one head."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, channels, eps=NORM_EPS)
        self.q = nn.Conv3d(channels, channels, 1)
        self.k = nn.Conv3d(channels, channels, 1)
        self.v = nn.Conv3d(channels, channels, 1)
        self.proj_out = nn.Conv3d(channels, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(G, C, T, H, W) -> the same shape; the norm's statistics are over a group's T, H and W together."""
        normed = self.norm(maps)
        query, key, value = (
            projection(normed).permute(0, 2, 3, 4, 1).flatten(2, 3)  # (G, C, T, H, W) -> (G, T, H * W, C)
            for projection in (self.q, self.k, self.v)
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        attended = attended.unflatten(2, maps.shape[3:]).permute(0, 4, 1, 2, 3)  # -> (G, C, T, H, W)
        return maps + self.proj_out(attended)


class RelativePositions(nn.Module):
    """A learned vector for every clipped distance between two time slots."""

    def __init__(self, channels: int):
        super().__init__()
        self.embeddings_table = nn.Parameter(torch.empty(2 * MAX_DISTANCE + 1, channels))

    def forward(self, slots: int) -> Tensor:
        """(T, T, C): row i, column j holds the vector of the distance j - i."""
        steps = torch.arange(slots, device=self.embeddings_table.device)
        distance = (steps - steps[:, None]).clamp(-MAX_DISTANCE, MAX_DISTANCE)
        return self.embeddings_table[distance + MAX_DISTANCE]


class TemporalAttention(nn.Module):
    """Every pixel's time slots attend to each other, with relative positions for keys and values; one head."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, channels, eps=NORM_EPS)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.relative_position_k = RelativePositions(channels)
        self.relative_position_v = RelativePositions(channels)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(G, C, T, H, W) -> the same shape; the norm's statistics are per pixel."""
        groups, channels, slots, height, width = maps.shape
        pixels = maps.permute(0, 3, 4, 1, 2).flatten(0, 2)  # (G, C, T, H, W) -> (G * H * W, C, T)
        qkv = self.qkv(self.norm(pixels)).transpose(1, 2)  # (G * H * W, T, 3 * C)
        query, key, value = qkv.chunk(3, dim=-1)
        query, key = query * channels**-0.25, key * channels**-0.25
        # the released weights are trained with this term transposed: row s, column t takes the query of slot t
        relative = torch.einsum("ptc,tsc->pst", query, self.relative_position_k(slots))
        weights = (query @ key.transpose(1, 2) + relative).softmax(dim=-1)  # (G * H * W, T, T)
        attended = weights @ value + torch.einsum("pst,stc->psc", weights, self.relative_position_v(slots))
        pixels = pixels + self.proj_out(attended.transpose(1, 2))
        return pixels.unflatten(0, (groups, height, width)).permute(0, 3, 4, 1, 2)  # -> (G, C, T, H, W)


class TemporalConv(nn.Module):
    """3x3x3 convolution that halves the time slots, edges repeated: around each map, and before the first slot."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, stride=(2, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """(G, C, T, H, W) -> (G, C, T / 2, H, W)."""
        return self.conv(F.pad(maps, (1, 1, 1, 1, 1, 0), mode="replicate"))


class TemporalModule(nn.Module):
    """Groups of four feature maps -> one map each."""

    def __init__(self, channels: int):
        super().__init__()
        self.temporal_encoding = nn.Parameter(torch.empty(GROUP_FRAMES, channels))
        stages = (SpatialAttention, TemporalAttention, TemporalConv)
        self.encoder = nn.Sequential(*(stage(channels) for stage in stages * 2))

    def forward(self, groups: Tensor) -> Tensor:
        """(G, C, 4, H, W) -> (G, C, H, W)."""
        encoding = self.temporal_encoding.T[:, :, None, None]  # (C, 4, 1, 1)
        return self.encoder(groups + encoding).squeeze(2)


def frame_groups(maps: Tensor) -> Tensor:
    """Feature maps (T, C, H, W) -> groups (ceil(T / 4), C, 4, H, W), the last one filled by repeating the last map.

    The four maps of a group are one run of 4 * C channels, cut anew into C runs of 4: the "time" slots of a channel are
    neighbouring channels of one frame. A transpose it is not, and the released weights are trained with it.
    """
    missing = -maps.shape[0] % GROUP_FRAMES
    maps = torch.cat([maps, maps[-1:].expand(missing, -1, -1, -1)])
    return maps.reshape(-1, maps.shape[1], GROUP_FRAMES, *maps.shape[2:])
