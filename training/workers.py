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


def average_gradients(model: nn.Module) -> None:
    """Replace gradients by their mean over the workers."""
    if dist.get_world_size() == 1:
        return
    parameters = list(model.parameters())
    gradients = [p.grad.flatten() if p.grad is not None else p.new_zeros(p.numel()) for p in parameters]
    flat = torch.cat(gradients)
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = gradient.view_as(parameter).clone()


def autocast() -> torch.autocast:
    """Matrix products in bf16 where that is faster: on an accelerator, and on CPUs that multiply bf16 themselves."""
    device = torch.get_default_device().type
    is_faster = device != "cpu" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast(device, torch.bfloat16, enabled=is_faster)
