"""Stores: where an index's KVs are kept off the accelerator."""

from __future__ import annotations

import os
from pathlib import Path

from videox2l.checks import check_path
from videox2l.errors import StoreError
from videox2l.store.base import Shelf, Store
from videox2l.store.disk import DiskStore
from videox2l.store.ram import RamStore

__all__ = ["DiskStore", "RamStore", "Shelf", "Store", "default_directory", "open_store"]


def default_directory() -> Path:
    """The cache directory: $VIDEOX2L_CACHE, or videox2l under the user's cache directory."""
    if chosen := os.environ.get("VIDEOX2L_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "videox2l"


def open_store(store: str | Path | Store) -> Store:
    """A store by "ram", "disk" (the cache directory), a directory, or as it is.

    Raises: StoreError for a directory that can't be made or written.
    """
    if isinstance(store, Store):
        return store
    if store == "ram":
        return RamStore()
    check_path(store, "the store", "disk, ram or a directory", StoreError)
    on_disk = DiskStore(default_directory() if store == "disk" else store)
    on_disk.prepare()
    return on_disk
