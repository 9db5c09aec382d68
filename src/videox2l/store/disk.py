"""A store on disk: a directory per index, a safetensors file per chunk, a manifest once complete.

Files are written under another name and renamed, so a file that is there is whole, and an index interrupted at any
moment goes on where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from videox2l.errors import StoreError
from videox2l.store.base import Shelf, Store


class DiskShelf(Shelf):
    """One index in a directory: chunk-00000.safetensors, ..., video.safetensors and manifest.json."""

    def __init__(self, directory: Path):
        self.directory = directory

    def write(self, chunk: int, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Keep a chunk in a file of its own."""
        self._put(self._file(chunk).name, save(dict(tensors), {"about": json.dumps(about)}))

    def read(self, chunk: int, names: Sequence[str]) -> list[Tensor]:
        """The named tensors of a chunk, read from its file."""
        return self._take(self._file(chunk), names)

    def about(self, chunk: int) -> dict[str, Any] | None:
        """What was said about a chunk, from its file's header."""
        file = self._file(chunk)
        if not file.is_file():
            return None
        try:
            with safe_open(file, "pt") as stream:
                return json.loads(stream.metadata()["about"])
        except (SafetensorError, OSError, TypeError, KeyError, ValueError):
            return None  # a damaged chunk of an unfinished index is made again

    def finish(self, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
        """Keep the whole video's tensors, then the manifest."""
        self._put("video.safetensors", save(dict(tensors)))
        self._put("manifest.json", json.dumps(manifest, indent=1).encode())

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of a complete index."""
        file = self.directory / "manifest.json"
        if not file.is_file():
            return None
        try:
            return json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise self._damaged(file, error) from error

    def whole(self, names: Sequence[str]) -> list[Tensor]:
        """Tensors of the whole video."""
        return self._take(self.directory / "video.safetensors", names)

    def _file(self, chunk: int) -> Path:
        return self.directory / f"chunk-{chunk:05d}.safetensors"

    def _take(self, file: Path, names: Sequence[str]) -> list[Tensor]:
        try:
            with safe_open(file, "pt") as stream:
                absent = [name for name in names if name not in stream.keys()]  # noqa: SIM118
                if not absent:  # copied: a view of the mapped file would kill the process if the file were cut
                    return [stream.get_tensor(name).clone() for name in names]
        except (SafetensorError, OSError) as error:
            raise self._damaged(file, error) from error
        raise StoreError(f"{file} has no {absent[0]}: index the video again with the settings you ask with")

    def _damaged(self, file: Path, error: Exception) -> StoreError:
        return StoreError(f"the stored index is damaged: {file} can't be read ({error}); delete {self.directory}")

    def _put(self, name: str, content: bytes) -> None:
        temporary = self.directory / f".{name}.{os.getpid()}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            os.replace(temporary, self.directory / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StoreError(
                f"can't write {self.directory / name} ({error.strerror or error}): free some space or choose another "
                "store; what was indexed so far is kept"
            ) from error


class DiskStore(Store):
    """Indexes in the sub-directories of one directory."""

    def __init__(self, directory: str | Path):
        self.directory = Path(directory).expanduser()

    def shelf(self, key: str) -> Shelf:
        """The shelf of an index. Raises: StoreError if the directory can't be written."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"can't make the store {self.directory} ({error.strerror}): choose another directory"
            ) from error
        if not os.access(self.directory, os.W_OK):
            raise StoreError(f"the store {self.directory} can't be written: choose another directory")
        return DiskShelf(self.directory / key)
