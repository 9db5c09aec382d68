"""Where indexes are kept: a store gives one shelf per index key, a shelf holds chunks of tensors and a manifest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


class Shelf(ABC):
    """The place of one index: numbered chunks of named tensors, and a manifest once the index is complete."""

    @abstractmethod
    def write(self, chunk: int, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Keep a chunk's tensors and a JSON object about it; all or nothing. Raises: StoreError."""

    @abstractmethod
    def read(self, chunk: int, names: Sequence[str]) -> list[Tensor]:
        """The named tensors of a chunk; only these are read. Raises: StoreError if absent or damaged."""

    @abstractmethod
    def about(self, chunk: int) -> dict[str, Any] | None:
        """What was said about a chunk when it was written; None if there is no such chunk."""

    @abstractmethod
    def finish(self, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
        """Mark the index complete: keep tensors of the whole video and the manifest."""

    @abstractmethod
    def manifest(self) -> dict[str, Any] | None:
        """The manifest of a complete index, else None."""

    @abstractmethod
    def whole(self, names: Sequence[str]) -> list[Tensor]:
        """Tensors of the whole video that `finish` kept."""


class Store(ABC):
    """Shelves by key."""

    @abstractmethod
    def shelf(self, key: str) -> Shelf:
        """The shelf of an index, empty if nothing was written under the key. Raises: StoreError if unwritable."""
