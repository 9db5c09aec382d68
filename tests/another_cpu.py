"""A stand-in for other CPUs: matrix products, convolutions and attention rounded as another kernel might round them.

    pytest -p another_cpu --another-cpu 1

Every value that such an operation gives in fp32 or fp64 is moved by -1, 0 or 1 rounding steps of a value as large as
its row's mean: by a hash of its bits, of the operation's shapes and of the number passed. So the same operation on the
same values gives the same bits again, and any other way to the same result gives slightly different ones.
MKL_ENABLE_INSTRUCTIONS and the like do nothing on some machines; this does the same on all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

ROUNDED = ("linear", "matmul", "bmm", "einsum", "conv1d", "conv2d", "conv3d", "scaled_dot_product_attention")
INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--another-cpu", type=int, default=0, help="which stand-in for another CPU; 0 is this one")


class AnotherCPU(TorchFunctionMode):
    """Rounds as one of many CPUs that do not exist."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "").strip("_")
        if name in ROUNDED and output.dtype in INTEGERS and output.device.type == "cpu":
            return self.round(output, hash(tuple(tuple(arg.shape) for arg in args if isinstance(arg, Tensor))))
        return output

    def round(self, output: Tensor, shapes: int) -> Tensor:
        """Move values (..., n) by -1, 0 or 1 rounding steps of their row's mean."""
        seed = (shapes ^ self.number * 0x85EBCA77) & 0x7FFFFFFF
        values = output.detach().contiguous()
        steps = ((values.view(INTEGERS[output.dtype]).long() ^ seed) * 0x9E3779B1 >> 7) % 3 - 1
        return output + steps * values.abs().mean(dim=-1, keepdim=True) * torch.finfo(output.dtype).eps


@pytest.fixture(autouse=True, scope="session")
def another_cpu(request: pytest.FixtureRequest) -> Iterator[None]:
    number = request.config.getoption("--another-cpu")
    if not number:
        yield
        return
    with AnotherCPU(number):
        yield
