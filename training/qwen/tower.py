"""Stage 1: the vision encoder, by classifying what each visual token shows against a table of words.

A visual token covers a cell of a pair of frames and is trained to point at the embeddings of all the words that
describe the quadrant of the picture that the cell lies in. The same table then becomes the language model's tied word
embedding. The features for DeepStack, from earlier layers, are trained alike, with a smaller weight.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel, apply_rotary_pos_emb_vision
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from training.bank import GROUPS, HELD_OUT, PIXEL_MEAN, PIXEL_STD
from training.muon import Muon
from training.workers import autocast, average_gradients

PAIR = 2
"""Frames that are encoded together."""

MOMENTS = (None, "earlier frame", "later frame", "both frames")
"""In which frames of the pair the needle is seen: a group beside those of the bank."""

WEIGHTS = {
    "colour": 1.0,
    "shape": 1.0,
    "digit": 2.0,
    "row": 0.3,
    "column": 0.3,
    "place": 0.3,
    "light": 0.2,
    "moment": 1.0,
}
DEEP_WEIGHT = 0.3
IGNORE = -100
LOG_STEPS = 200


def vision_config(hidden: int, depth: int = 4, width: int = 96, heads: int = 4, mlp: int = 288) -> Qwen3VLVisionConfig:
    """The encoder of nano-qwen at a size.

    hidden: of the language model. depth, width, heads, mlp: of the encoder's blocks.
    """
    return Qwen3VLVisionConfig(
        depth=depth,
        hidden_size=width,
        intermediate_size=mlp,
        num_heads=heads,
        out_hidden_size=hidden,
        patch_size=8,
        spatial_merge_size=2,
        temporal_patch_size=PAIR,
        num_position_embeddings=64,
        deepstack_visual_indexes=[depth // 2 - 1, depth - 2],
    )


def patchify(frames: Tensor, config: Qwen3VLVisionConfig) -> Tensor:
    """uint8 frames (N, 2, height, width, 3) -> patches (N, patches, 3 * 2 * 8 * 8), in the class's order."""
    pixels = (frames.float() / 255 - PIXEL_MEAN) / PIXEL_STD
    patch, merge = config.patch_size, config.spatial_merge_size
    cells = pixels.unflatten(3, (-1, merge, patch)).unflatten(2, (-1, merge, patch))
    # (N, 2, rows, merge, patch, columns, merge, patch, 3) -> (N, rows, columns, merge, merge, 3, 2, patch, patch)
    return cells.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).flatten(5).flatten(1, 4)


@dataclass(frozen=True)
class Grid:
    """What depends on the frames' size alone.

    rows, columns: visual tokens of a frame, in cells.
    """

    visual: Qwen3VLVisionModel
    rows: int
    columns: int

    @cached_property
    def thw(self) -> Tensor:
        """Time, height and width of a pair of frames, in patches, (1, 3)."""
        merge = self.visual.spatial_merge_size
        return torch.tensor([[1, self.rows * merge, self.columns * merge]])

    @cached_property
    def taps(self) -> tuple[Tensor, Tensor]:
        """Which learned positions each patch takes, and their weights, (patches, 4) each."""
        return get_vision_interpolation_indices_and_weights(
            self.thw,
            num_grid_per_side=self.visual.num_grid_per_side,
            mode=self.visual.interpolation_mode,
            align_corners=self.visual.interpolation_align_corners,
            spatial_merge_size=self.visual.spatial_merge_size,
        )

    @cached_property
    def rotation(self) -> tuple[Tensor, Tensor]:
        """Cosine and sine of each patch's angles, (patches, head size) each."""
        return self.visual.rotary_pos_emb(self.thw, get_vision_position_ids(self.thw, self.visual.spatial_merge_size))

    @cached_property
    def quadrants(self) -> Tensor:
        """The quadrant of the picture that each token's centre lies in, (rows * columns,); -1 on the border of two."""
        row, column = torch.meshgrid(torch.arange(self.rows), torch.arange(self.columns), indexing="ij")
        right, below = (2 * column + 1 - self.columns).flatten(), (2 * row + 1 - self.rows).flatten()
        return torch.where((right == 0) | (below == 0), -1, 2 * (below > 0) + (right > 0).long())


class VisionModel(nn.Module):
    """The class's own vision encoder with the word table it is trained against.

    config: of the encoder; the language model's width is its `out_hidden_size`.
    """

    def __init__(self, config: Qwen3VLVisionConfig):
        super().__init__()
        self.config = config
        self.visual = Qwen3VLVisionModel(config)
        hidden = config.out_hidden_size
        for name, parameter in self.visual.named_parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                nn.init.normal_(parameter, std=0.02 if name == "pos_embed.weight" else fan_in**-0.5)
                if name.endswith(("attn.proj.weight", "mlp.linear_fc2.weight")):
                    parameter.data *= 0.5
        self.groups = GROUPS | {"moment": MOMENTS}
        words = sorted({word for group in self.groups.values() for word in group if word})
        self.word_rows = {word: row for row, word in enumerate(words)}
        self.words = nn.Parameter(torch.randn(len(words), hidden) * 0.1)
        self.nothing = nn.Parameter(torch.randn(len(self.groups), hidden) * 0.1)
        self.grids: dict[tuple[int, int], Grid] = {}

    def grid(self, frames: Tensor) -> Grid:
        """The grid of frames (..., height, width, 3)."""
        side = self.config.patch_size * self.config.spatial_merge_size
        size = frames.shape[-3] // side, frames.shape[-2] // side
        if size not in self.grids:
            self.grids[size] = Grid(self.visual, *size)
        return self.grids[size]

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, 2, height, width, 3) -> features (N, 1 + depths, tokens, hidden), DeepStack's last.

        What the class computes one pair after the other is computed for all pairs at once.
        """
        visual, grid = self.visual, self.grid(frames)
        indices, weights = grid.taps
        cosine, sine = grid.rotation
        patches = patchify(frames, self.config)
        states = patches @ visual.patch_embed.proj.weight.flatten(1).T + visual.patch_embed.proj.bias
        states = states + (visual.pos_embed(indices) * weights[:, :, None]).sum(1)
        deep: list[Tensor] = []
        for depth, block in enumerate(visual.blocks):
            normed = block.norm1(states)
            query, key, value = block.attn.qkv(normed).unflatten(2, (3, block.attn.num_heads, -1)).unbind(2)
            query, key = apply_rotary_pos_emb_vision(query, key, cosine, sine)
            attended = attend(*(part.transpose(1, 2) for part in (query, key, value)))
            states = states + block.attn.proj(attended.transpose(1, 2).flatten(2))
            states = states + block.mlp(block.norm2(states))
            if depth in self.config.deepstack_visual_indexes:
                merger = visual.deepstack_merger_list[len(deep)]
                deep.append(merger(states.flatten(0, 1)).unflatten(0, (len(states), -1)))
        merged = visual.merger(states.flatten(0, 1)).unflatten(0, (len(states), -1))
        return torch.stack([merged, *deep], dim=1)

    def classify(self, features: Tensor) -> list[Tensor]:
        """Logits over each group, (..., choices), of features (..., hidden)."""
        logits = []
        for index, group in enumerate(self.groups.values()):
            rows = [self.words[self.word_rows[word]] if word else self.nothing[index] for word in group]
            logits.append(features @ torch.stack(rows).T)
        return logits


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention over (N, heads, patches, head size); over so few, plain products are several times faster in bf16."""
    scores = (query @ key.transpose(2, 3)) * query.shape[-1] ** -0.5
    return scores.softmax(-1).to(value.dtype) @ value


def pair_labels(labels: Tensor) -> Tensor:
    """Labels of frames (N, 2, 4, groups) -> of pairs (N, 4, groups + 1), the moment last; IGNORE where frames differ.

    A corner shows one needle at most in a pair of frames.
    """
    first, second = labels.long().unbind(1)
    needle = torch.where(first[..., :3] > 0, first[..., :3], second[..., :3])
    scene = torch.where(first[..., 3:] == second[..., 3:], first[..., 3:], IGNORE)
    moment = (first[..., :1] > 0).long() + 2 * (second[..., :1] > 0).long()
    return torch.cat([needle, scene, moment], dim=-1)


def token_labels(labels: Tensor, grid: Grid) -> Tensor:
    """Labels of quadrants (N, 4, groups) -> of visual tokens (N, tokens, groups)."""
    return torch.where((grid.quadrants < 0)[:, None], IGNORE, labels[:, grid.quadrants.clamp_min(0)])


class PairBank:
    """Pairs of frames of one size with their labels, from a bank's directory."""

    def __init__(self, directory: Path):
        frames = np.load(directory / "frames.npy", mmap_mode="r")
        self.frames = frames.reshape(-1, PAIR, *frames.shape[2:])
        labels = torch.from_numpy(np.load(directory / "labels.npy"))
        self.labels = pair_labels(labels.flatten(0, 1).unflatten(0, (-1, PAIR)))
        self.train = int(len(self.frames) * (1 - HELD_OUT))

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
        """Frames and labels of pairs to train on."""
        chosen = np.sort(rng.choice(self.train, size, replace=False))
        return torch.from_numpy(self.frames[chosen]), self.labels[chosen]

    def held_out(self) -> tuple[Tensor, Tensor]:
        """Frames and labels of at most 500 pairs that are not trained on."""
        chosen = np.arange(self.train, len(self.frames))[:500]
        return torch.from_numpy(self.frames[chosen]), self.labels[chosen]


def train_tower(
    banks: Sequence[Path], out: Path, config: Qwen3VLVisionConfig, steps: int, seed: int, batch: int = 64
) -> None:
    """Train for a number of steps; save the weights and log the held-out accuracy. Runs in every worker of a group.

    banks: directories; every other batch is of the first one, the others have equal shares of the rest.
    """
    torch.manual_seed(seed)
    sources = [PairBank(bank) for bank in banks]
    vision = VisionModel(config)
    matrices = [p for name, p in vision.visual.named_parameters() if p.dim() == 2 and "pos_embed" not in name]
    chosen = set(map(id, matrices))
    others = [parameter for parameter in vision.parameters() if id(parameter) not in chosen]
    optimizers = [Muon(matrices, lr=0.0), torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)]
    rank, device = dist.get_rank(), torch.get_default_device()
    rng, shared = np.random.default_rng((seed, rank)), np.random.default_rng(seed)
    start = time.time()
    for step in range(steps):
        rate = 3e-3 * min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        source = sources[0] if shared.random() < 0.5 else sources[shared.integers(len(sources))]
        frames, labels = source.batch(rng, batch)
        frames, truth = frames.to(device), token_labels(labels, vision.grid(frames)).to(device)
        with autocast():
            features = vision(frames)
        loss = torch.zeros((), device=device)
        for depth, weight in enumerate([1.0, *[DEEP_WEIGHT] * (features.shape[1] - 1)]):
            for index, logits in enumerate(vision.classify(features[:, depth].float())):
                wrong = F.cross_entropy(logits.flatten(0, 1), truth[..., index].flatten(), ignore_index=IGNORE)
                loss = loss + weight * list(WEIGHTS.values())[index] * wrong
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        average_gradients(vision)
        nn.utils.clip_grad_norm_(vision.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if rank == 0 and ((step + 1) % LOG_STEPS == 0 or step + 1 == steps):
            record = {"step": step + 1, "s": round(time.time() - start), "loss": round(loss.item(), 4)}
            for name, one in zip(banks, sources, strict=True):
                record |= {f"{name.name} {group}": right for group, right in measure(vision, *one.held_out()).items()}
            with (out / "tower.jsonl").open("a") as log:
                print(json.dumps(record), file=log)
            torch.save(vision.state_dict(), out / "tower-latest.pt")
    if rank == 0:
        torch.save(vision.state_dict(), out / "tower.pt")


@torch.no_grad()
def measure(vision: VisionModel, frames: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy by group over visual tokens; for what a needle has where there is one, and "nothing" where not."""
    truth = token_labels(labels, vision.grid(frames))
    needle = truth[..., 0] > 0
    accuracy = {}
    for index, (name, logits) in enumerate(
        zip(vision.groups, vision.classify(encode(vision, frames)[:, 0]), strict=True)
    ):
        asked = needle if index < 3 or name == "moment" else truth[..., index] != IGNORE
        accuracy[name] = round((logits.argmax(-1) == truth[..., index])[asked].float().mean().item(), 4)
        if index == 0:
            accuracy["nothing"] = round((logits.argmax(-1) == 0)[truth[..., 0] == 0].float().mean().item(), 4)
    return accuracy


@torch.no_grad()
def encode(vision: VisionModel, frames: Tensor) -> Tensor:
    """Features (N, 1 + depths, tokens, hidden), fp32, of uint8 pairs of frames (N, 2, height, width, 3)."""
    device = vision.words.device
    parts = []
    for part in frames.split(100):
        with autocast():
            parts.append(vision(part.to(device)).float())
    return torch.cat(parts)
