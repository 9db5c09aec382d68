"""Muon: momentum orthogonalised before each step (Jordan et al. 2024; scaled as in arXiv 2502.16982)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from training.workers import autocast


class Muon(torch.optim.Optimizer):
    """For the matrices inside the network; embeddings, norms and biases go to AdamW.

    Matrices of one shape are orthogonalised in one batch, which is what makes it cheap for small ones.

    parameters: matrices.
    lr: learning rate; a step changes a matrix about as much as AdamW's at the same rate.
    momentum: the share of earlier gradients, default 0.95.
    weight_decay: default 0.01.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update of all matrices that have a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append((parameter, parameter.grad))
            for shape, pairs in by_shape.items():
                updates = []
                for parameter, gradient in pairs:
                    momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                    momentum.lerp_(gradient, 1 - group["momentum"])
                    updates.append(gradient.lerp(momentum, group["momentum"]))
                step = group["lr"] * 0.2 * max(shape) ** 0.5
                for (parameter, _), update in zip(pairs, orthogonalise(torch.stack(updates)), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=step)


def orthogonalise(matrices: Tensor) -> Tensor:
    """The nearest matrices (n, rows, columns) with singular values about 1, by five Newton-Schulz iterations."""
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    with autocast():
        for _ in range(5):
            gram = x @ x.transpose(1, 2)
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide else x.transpose(1, 2)
