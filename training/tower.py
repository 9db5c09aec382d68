"""Stage 1: the vision tower and projector, by classifying what each visual token shows against a table of words.

A visual token is trained to point at the embeddings of all the words that describe its quadrant at once. The same table
then becomes the language model's tied word embedding, so the language model can read visual tokens from its first step.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from training.bank import GROUPS, HELD_OUT, normalise
from training.workers import average_gradients
from videox2l.models.llava_qwen.vision import pool
from videox2l.models.video_xl.conv_tower import ConvTower, ConvTowerConfig

WEIGHTS = {"colour": 1.0, "shape": 1.0, "digit": 2.0, "row": 0.3, "column": 0.3, "place": 0.4, "light": 0.3}


class VisionModel(nn.Module):
    """Tower, projector and 2x2 pooling, with the word table they are trained against.

    config: of the tower. hidden_size: width of the language model that reads the visual tokens.
    """

    def __init__(self, config: ConvTowerConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.tower = ConvTower(config)
        self.projector = nn.Sequential(
            nn.Linear(config.hidden_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, hidden_size)
        )
        words = sorted({word for group in GROUPS.values() for word in group if word})
        self.word_rows = {word: row for row, word in enumerate(words)}
        self.words = nn.Parameter(torch.randn(len(words), hidden_size) * 0.1)
        self.nothing = nn.Parameter(torch.randn(len(GROUPS), hidden_size) * 0.1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (T, 3, 64, 64) -> visual tokens (T, 4, hidden), RMS-normalised."""
        tokens = pool(self.projector(self.tower(pixels)), 2)
        return F.rms_norm(tokens.float(), tokens.shape[-1:], eps=1e-6)

    def classify(self, tokens: Tensor) -> list[Tensor]:
        """Logits over each of GROUPS."""
        logits = []
        for index, group in enumerate(GROUPS.values()):
            rows = [self.words[self.word_rows[word]] if word else self.nothing[index] for word in group]
            logits.append(tokens @ torch.stack(rows).T)
        return logits


def train_tower(bank: Path, out: Path, config: ConvTowerConfig, hidden_size: int, steps: int, seed: int) -> None:
    """Train on the bank's frames for a number of steps; save the weights and log the held-out accuracy.

    Runs in every worker of a group.
    """
    torch.manual_seed(seed)
    frames = np.load(bank / "frames.npy", mmap_mode="r").reshape(-1, 64, 64, 3)
    labels = torch.from_numpy(np.load(bank / "labels.npy")).flatten(0, 1).long()
    train = int(len(frames) * (1 - HELD_OUT))
    held_out = np.arange(train, len(frames))
    vision = VisionModel(config, hidden_size).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vision.parameters(), lr=2e-3, weight_decay=0.02, betas=(0.9, 0.98))
    rank, device = dist.get_rank(), torch.get_default_device()
    rng = np.random.default_rng((seed, rank))
    start = time.time()
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, step / 50) * (0.5 + 0.5 * math.cos(math.pi * (step - 1) / steps))
        batch = np.sort(rng.choice(train, 64, replace=False))
        pixels = normalise(torch.from_numpy(frames[batch]).to(device)).to(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            tokens = vision(pixels)
        logits, truth = vision.classify(tokens), labels[batch].to(device)
        losses = [F.cross_entropy(logit.flatten(0, 1), truth[..., g].flatten()) for g, logit in enumerate(logits)]
        loss = torch.stack([weight * one for weight, one in zip(WEIGHTS.values(), losses, strict=True)]).sum()
        optimizer.zero_grad()
        loss.backward()
        average_gradients(vision)
        nn.utils.clip_grad_norm_(vision.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 0 and rank == 0:
            accuracy = measure(vision, torch.from_numpy(frames[held_out]), labels[held_out].to(device))
            record = {"step": step, "s": round(time.time() - start), "loss": round(loss.item(), 4)} | accuracy
            with (out / "tower.jsonl").open("a") as log:
                print(json.dumps(record), file=log)
    if rank == 0:
        torch.save(vision.state_dict(), out / "tower.pt")


@torch.no_grad()
def measure(vision: VisionModel, frames: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy by group; for colour, shape and digit where there is a needle, and "nothing" where there is none."""
    logits = vision.classify(encode(vision, frames))
    needle = labels[..., 0] > 0
    accuracy = {}
    for index, name in enumerate(GROUPS):
        right = logits[index].argmax(-1) == labels[..., index]
        accuracy[name] = round((right[needle] if index < 3 else right).float().mean().item(), 4)
    accuracy["nothing"] = round((logits[0].argmax(-1) == 0)[~needle].float().mean().item(), 4)
    return accuracy


@torch.no_grad()
def encode(vision: VisionModel, frames: Tensor) -> Tensor:
    """Visual tokens (T, 4, hidden) of uint8 frames (T, 64, 64, 3), without their time."""
    parts = (normalise(part.to(vision.words.device)) for part in frames.split(250))
    return torch.cat([vision(part.contiguous(memory_format=torch.channels_last)) for part in parts])
