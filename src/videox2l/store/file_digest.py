"""The digest of a file's content, remembered while the file stays as it is."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from videox2l.store import default_directory

REMEMBERED_BYTES = 1 << 20
"""Smaller files are read every time, which takes no longer than to look their digest up."""

RACY_S = 2.0
"""A file changed so recently could change again and keep its times: no file system in use has coarser ones."""


def content_digest(file: Path, digest_bytes: int = 64) -> str:
    """Hex blake2b digest of a file's content, read again only if the file seems changed.

    digest_bytes: its length. Default 64.

    The digest of a large file is kept in the cache directory, beside the file's path, size, times of its last change
    and inode, and counts as long as all of these are the same. That is safe as far as the file system tells of
    changes, as it is for git and make: whatever writes to a file sets both times, and the second one (ctime) no
    program can set back, so a file of the same size whose modification time was restored is noticed too. A file
    changed within the last two seconds is not remembered, since a second change might get the same times.
    It can't notice what is not written through this file system: a bit that rots on the disk, or another machine's
    write that a network file system reports late.
    Whatever is wrong with what was kept (damaged, foreign, of another version), the content is read instead; nothing
    is kept where the cache directory can't be written.
    """
    path = Path(os.path.realpath(file))
    before = stamp(path)
    if before[0] < REMEMBERED_BYTES:
        return read_digest(path, digest_bytes)
    record = record_file(path)
    if record is not None and (digest := recall(record, path, before, digest_bytes)):
        return digest
    started_s = time.time()
    digest = read_digest(path, digest_bytes)
    changed_s = before[1] / 1e9
    if record is not None and stamp(path) == before and changed_s < started_s - RACY_S:
        remember(record, path, before, digest)
    return digest


def read_digest(path: Path, digest_bytes: int) -> str:
    """Hex blake2b digest of a file's content, read whole."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, partial(hashlib.blake2b, digest_size=digest_bytes)).hexdigest()


def stamp(path: Path) -> list[int]:
    """What changes with a file: its size, the times of its last change, its inode.

    Not its device, whose number changes when a machine or a container starts anew.
    """
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def record_file(path: Path) -> Path | None:
    """Where a file's digest is kept; None where there is no cache directory to be had."""
    try:
        directory = default_directory()
    except RuntimeError:  # a user without a home
        return None
    name = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
    return directory / "digests" / f"{name}.json"


def recall(record: Path, path: Path, stamped: list[int], digest_bytes: int) -> str | None:
    """The digest of this length that was kept of a file that is as it was; None if there is none to be trusted."""
    with suppress(OSError, ValueError, RecursionError):
        kept = json.loads(record.read_text())
        if isinstance(kept, dict) and isinstance(digest := kept.get("digest"), str):
            return digest if len(digest) == 2 * digest_bytes and kept == sealed(path, stamped, digest) else None
    return None


def remember(record: Path, path: Path, stamped: list[int], digest: str) -> None:
    """Keep a file's digest, if the cache directory can be written."""
    with suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=record.parent)
        try:
            with open(handle, "w") as stream:
                json.dump(sealed(path, stamped, digest), stream)
            os.replace(temporary, record)
        except OSError:
            os.unlink(temporary)
            raise


def sealed(path: Path, stamped: list[int], digest: str) -> dict[str, Any]:
    """What is kept of a file, with a seal that a damaged record does not have."""
    about = {"file": str(path), "stamp": stamped, "digest": digest}
    seal = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16)
    return about | {"seal": seal.hexdigest()}
