"""Where indexes and tracks are kept: a store gives one shelf per key, a shelf holds named parts and a manifest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


class Shelf(ABC):
    """The place of one index or track: parts, each of named tensors and a JSON object, and a manifest once complete."""

    @abstractmethod
    def write(self, part: str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Keep a part: its tensors and a JSON object about them, all or nothing. Raises: StoreError."""

    @abstractmethod
    def read(self, part: str, names: Sequence[str]) -> list[Tensor]:
        """The named tensors of a part; only these are read. Raises: StoreError if absent or damaged."""

    @abstractmethod
    def header(self, part: str) -> dict[str, Any] | None:
        """What was said about a part when it was written; None if there is no such part, or it is damaged."""

    @abstractmethod
    def remove(self, part: str) -> None:
        """Forget a part, if it is there."""

    @abstractmethod
    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Mark everything complete: keep the manifest. Raises: StoreError."""

    @abstractmethod
    def manifest(self) -> dict[str, Any] | None:
        """The manifest if everything is complete, else None. Raises: StoreError if it can't be read."""


class Store(ABC):
    """Shelves by key."""

    @abstractmethod
    def shelf(self, key: str) -> Shelf:
        """The shelf of a key, empty if nothing was written under it. Raises: StoreError if unwritable."""
