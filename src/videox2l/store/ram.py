"""A store in host memory, page-locked where there is a CUDA device so that re-loading runs at bus speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from videox2l.errors import StoreError
from videox2l.store.base import Shelf, Store


class RamShelf(Shelf):
    """One index or track in memory."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {}
        self._manifest: dict[str, Any] | None = None

    def write(self, part: str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Keep a part."""
        self._parts[part] = (pinned(tensors), dict(header))

    def read(self, part: str, names: Sequence[str]) -> list[Tensor]:
        """The named tensors of a part."""
        tensors = self._parts[part][0] if part in self._parts else {}
        for name in names:
            if name not in tensors:
                raise StoreError(f"{part} has no {name}: index the video again with the settings you ask with")
        return [tensors[name] for name in names]

    def header(self, part: str) -> dict[str, Any] | None:
        """What was said about a part."""
        return self._parts[part][1] if part in self._parts else None

    def remove(self, part: str) -> None:
        """Forget a part."""
        self._parts.pop(part, None)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Keep the manifest."""
        self._manifest = dict(manifest)

    def manifest(self) -> dict[str, Any] | None:
        """The manifest."""
        return self._manifest


class RamStore(Store):
    """Indexes and tracks in memory; they go with the process."""

    def __init__(self) -> None:
        self._shelves: dict[str, RamShelf] = {}

    def shelf(self, key: str) -> Shelf:
        """The shelf of a key."""
        return self._shelves.setdefault(key, RamShelf())


def pinned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in page-locked memory where there is CUDA, else as they are."""
    if not torch.cuda.is_available():
        return dict(tensors)
    return {name: tensor.pin_memory() for name, tensor in tensors.items()}
