"""What the published codes were given and gave: whole where that lies beside the checkout, else the committed part."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

COMMITTED = Path(__file__).parent / "golden"
WHOLE = Path(__file__).parents[2] / "shared" / "golden"


class GoldenSet:
    """What one published code was given and gave.

    inputs, outputs: tensors by name. In the committed part a large one is thinned: `name@stride` holds every so manyth
    of its values, in row-major order. expected, layout: the JSON files.
    """

    def __init__(self, name: str):
        self.directory = WHOLE / name if (WHOLE / name).is_dir() else COMMITTED / name
        self.inputs = load_file(self.directory / "inputs.safetensors")
        self.outputs = load_file(self.directory / "outputs.safetensors")
        self.expected: dict[str, Any] = json.loads((self.directory / "expected.json").read_text())
        self.layout: dict[str, Any] = json.loads((self.directory / "layout.json").read_text())
        self._stored = {key.partition("@")[0]: key for key in (*self.inputs, *self.outputs)}

    def names(self, *beginnings: str) -> set[str]:
        """The outputs whose names begin so, whole or thinned."""
        return {name for key in self.outputs if (name := key.partition("@")[0]).startswith(beginnings)}

    def compare(self, found: Mapping[str, Tensor], names: Iterable[str], at_least: int, tolerance: float) -> None:
        """Every one of the named golden tensors, and not fewer than so many, against what was found under its name."""
        names = set(names)
        assert len(names) >= at_least, f"{len(names)} golden tensors to compare, expected at least {at_least}"
        assert not names - found.keys(), f"nothing was found to compare with {sorted(names - found.keys())}"
        for name in sorted(names):
            self.check(name, found[name], tolerance)

    def check(self, name: str, actual: Tensor, tolerance: float = 1e-4) -> None:
        """One tensor against the golden one of that name."""
        key = self._stored[name]
        golden = self.inputs[key] if key in self.inputs else self.outputs[key]
        if stride := key.partition("@")[2]:
            actual = actual.flatten()[:: int(stride)]
        actual = actual.to(golden.dtype) if not golden.is_floating_point() else actual
        torch.testing.assert_close(actual, golden, rtol=0, atol=tolerance, msg=lambda message: f"{name}: {message}")
