"""Chunks that were read from a store, remembered for a while, so that several questions read each of them once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.store.base import Shelf, Store

MOST_BYTES = 2**30


class ReadOnce:
    """What was read lately, in host memory.

    most_bytes: of what is remembered, at most; what was read longest ago is forgotten first. Default 1 GiB.
    """

    def __init__(self, most_bytes: int = MOST_BYTES):
        self.most_bytes = most_bytes
        self._tensors: OrderedDict[tuple[str, str, str], Tensor] = OrderedDict()
        self._bytes = 0

    def of(self, index: VideoIndex, is_last: bool = False) -> VideoIndex:
        """An index that reads its store only for what is not remembered.

        is_last: whether nobody reads after this one, so that nothing more is to be remembered. Default False.
        """
        return replace(index, store=RememberedStore(index.store, self, is_last))

    def forget(self) -> None:
        """Forget everything."""
        self._tensors.clear()
        self._bytes = 0

    def read(self, shelf: Shelf, key: str, part: str, names: Sequence[str], is_last: bool) -> list[Tensor]:
        """The named tensors of a part, those from the shelf that are not remembered."""
        known = {name: tensor for name in names if (tensor := self._tensors.get((key, part, name))) is not None}
        missing = [name for name in names if name not in known]
        if missing:
            known |= zip(missing, shelf.read(part, missing), strict=True)
        if not is_last:
            for name in missing:
                self._remember((key, part, name), known[name])
        return [known[name] for name in names]

    def _remember(self, place: tuple[str, str, str], tensor: Tensor) -> None:
        self._tensors[place] = tensor
        self._bytes += tensor.nbytes
        while self._bytes > self.most_bytes:
            _, forgotten = self._tensors.popitem(last=False)
            self._bytes -= forgotten.nbytes


@dataclass(frozen=True)
class RememberedStore(Store):
    """A store whose tensors are read once; see `ReadOnce`."""

    store: Store
    reads: ReadOnce
    is_last: bool

    def shelf(self, key: str) -> Shelf:
        """The shelf of a key."""
        return RememberedShelf(self.store.shelf(key), key, self.reads, self.is_last)


@dataclass(frozen=True)
class RememberedShelf(Shelf):
    """A shelf whose tensors are read once; all else is the shelf's own."""

    shelf: Shelf
    key: str
    reads: ReadOnce
    is_last: bool

    def read(self, part: str, names: Sequence[str]) -> list[Tensor]:
        """The named tensors of a part."""
        return self.reads.read(self.shelf, self.key, part, names, self.is_last)

    def write(self, part: str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Keep a part."""
        self.shelf.write(part, tensors, header)

    def header(self, part: str) -> dict[str, Any] | None:
        """What was said about a part."""
        return self.shelf.header(part)

    def remove(self, part: str) -> None:
        """Forget a part."""
        self.shelf.remove(part)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Keep the manifest."""
        self.shelf.finish(manifest)

    def manifest(self) -> dict[str, Any] | None:
        """The manifest."""
        return self.shelf.manifest()
