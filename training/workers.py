"""Data parallelism over a few one-thread processes, which on CPU beats one process with a few threads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def launch(function: Callable[..., None], workers: int, device: str, *args: Any) -> None:
    """Run function(*args) in that many processes of one gloo group; this one goes on when all are done.

    device: the default device of the workers; an accelerator takes one worker.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with tempfile.TemporaryDirectory() as rendezvous:
        torch.multiprocessing.spawn(_work, (function, workers, device, rendezvous, args), nprocs=workers)


def _work(
    rank: int, function: Callable[..., None], workers: int, device: str, rendezvous: str, args: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    torch.set_default_device(device)
    dist.init_process_group("gloo", f"file://{rendezvous}/workers", rank=rank, world_size=workers)
    function(*args)
    dist.destroy_process_group()


def average_gradients(model: nn.Module, seconds: float) -> float:
    """Replace gradients by their mean over the workers; also returns the workers' mean of `seconds`.

    Averaging the time a step took keeps all workers agreed on how far a training by the clock has come.
    """
    if dist.get_world_size() == 1:
        return seconds
    parameters = list(model.parameters())
    gradients = [p.grad.flatten() if p.grad is not None else p.new_zeros(p.numel()) for p in parameters]
    flat = torch.cat([*gradients, torch.tensor([seconds])])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, gradient in zip(parameters, flat[:-1].split([p.numel() for p in parameters]), strict=True):
        parameter.grad = gradient.view_as(parameter).clone()
    return flat[-1].item()
