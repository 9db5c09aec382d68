"""A store in host memory, page-locked where there is a CUDA device so that re-loading runs at bus speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from videox2l.errors import StoreError
from videox2l.store.base import Shelf, Store


def pinned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in page-locked memory where there is CUDA, else as they are."""
    if not torch.cuda.is_available():
        return dict(tensors)
    return {name: tensor.pin_memory() for name, tensor in tensors.items()}


class RamShelf(Shelf):
    """One index in memory."""

    def __init__(self) -> None:
        self.chunks: dict[int, tuple[dict[str, Tensor], dict[str, Any]]] = {}
        self.finished: tuple[dict[str, Tensor], dict[str, Any]] | None = None

    def write(self, chunk: int, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Keep a chunk."""
        self.chunks[chunk] = (pinned(tensors), dict(about))

    def read(self, chunk: int, names: Sequence[str]) -> list[Tensor]:
        """The named tensors of a chunk."""
        return take(self.chunks[chunk][0], names, f"chunk {chunk}")

    def about(self, chunk: int) -> dict[str, Any] | None:
        """What was said about a chunk."""
        return self.chunks[chunk][1] if chunk in self.chunks else None

    def finish(self, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
        """Mark the index complete."""
        self.finished = (pinned(tensors), dict(manifest))

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of a complete index."""
        return self.finished[1] if self.finished else None

    def whole(self, names: Sequence[str]) -> list[Tensor]:
        """Tensors of the whole video."""
        return take(self.finished[0] if self.finished else {}, names, "the index")


class RamStore(Store):
    """Indexes in memory; they go with the process."""

    def __init__(self) -> None:
        self.shelves: dict[str, RamShelf] = {}

    def shelf(self, key: str) -> Shelf:
        """The shelf of an index."""
        return self.shelves.setdefault(key, RamShelf())


def take(tensors: Mapping[str, Tensor], names: Sequence[str], of: str) -> list[Tensor]:
    """The named tensors. Raises: StoreError that names the first one absent."""
    for name in names:
        if name not in tensors:
            raise StoreError(f"{of} has no {name}: index the video again with the settings you ask with")
    return [tensors[name] for name in names]
