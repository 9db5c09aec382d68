"""A store on disk: a directory per key, a safetensors file per part, a manifest once complete.

Files are written under another name and renamed, so a file that is there is whole, and an index interrupted at any
moment goes on where it was.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from videox2l.errors import StoreError
from videox2l.store.base import Shelf, Store


class DiskShelf(Shelf):
    """One index or track in a directory: PART.safetensors for each part, and manifest.json."""

    def __init__(self, directory: Path):
        self.directory = directory

    def write(self, part: str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Keep a part in a file of its own."""
        self._put(self._file(part), save(dict(tensors), {"header": json.dumps(header, allow_nan=False)}))

    def read(self, part: str, names: Sequence[str]) -> list[Tensor]:
        """The named tensors of a part, read from its file."""
        file = self._file(part)
        try:
            with safe_open(file, "pt") as stream:
                absent = [name for name in names if name not in stream.keys()]  # noqa: SIM118
                if not absent:  # copied: a view of the mapped file would kill the process if the file were cut
                    return [stream.get_tensor(name).clone() for name in names]
        except (SafetensorError, OSError) as error:
            raise self._damaged(file, error) from error
        raise StoreError(f"{file} has no {absent[0]}: index the video again with the settings you ask with")

    def header(self, part: str) -> dict[str, Any] | None:
        """What was said about a part, from its file's header."""
        file = self._file(part)
        if not file.is_file():
            return None
        try:
            with safe_open(file, "pt") as stream:
                return json.loads(stream.metadata()["header"])
        except (SafetensorError, OSError, TypeError, KeyError, ValueError):
            return None

    def remove(self, part: str) -> None:
        """Delete a part's file."""
        self._file(part).unlink(missing_ok=True)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Write manifest.json."""
        self._put(self.directory / "manifest.json", json.dumps(manifest, indent=1, allow_nan=False).encode())

    def manifest(self) -> dict[str, Any] | None:
        """What manifest.json holds."""
        file = self.directory / "manifest.json"
        if not file.is_file():
            return None
        try:
            return json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise self._damaged(file, error) from error

    def _file(self, part: str) -> Path:
        return self.directory / f"{part}.safetensors"

    def _damaged(self, file: Path, error: Exception) -> StoreError:
        return StoreError(f"the stored index is damaged: {file} can't be read ({error}); delete {self.directory}")

    def _put(self, file: Path, content: bytes) -> None:
        temporary: Path | None = None
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            # a name that no other thread, process or container has: several may index the same video
            handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=self.directory)
            temporary = Path(name)
            os.close(handle)
            temporary.write_bytes(content)
            os.replace(temporary, file)
        except OSError as error:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise StoreError(
                f"can't write {file} ({error.strerror or error}): free some space or choose another store; what was "
                "indexed so far is kept"
            ) from error


class DiskStore(Store):
    """Indexes and tracks in the sub-directories of one directory."""

    def __init__(self, directory: str | Path):
        self.directory = Path(directory).expanduser()

    def prepare(self) -> None:
        """Make the directory if it is not there. Raises: StoreError if it can't be made or written."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"can't make the store {self.directory} ({error.strerror}): choose another directory"
            ) from error
        if not os.access(self.directory, os.W_OK):
            raise StoreError(f"the store {self.directory} can't be written: choose another directory")

    def shelf(self, key: str) -> Shelf:
        """The shelf of a key. Raises: StoreError if the directory can't be written."""
        self.prepare()
        return DiskShelf(self.directory / key)
