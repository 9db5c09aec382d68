"""A hex digest of a video's content: the same wherever it lies and however it is sampled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from videox2l.store.file_digest import content_digest

BLOCK_BYTES = 1 << 20
DIGEST_BYTES = 32


def fingerprint(parts: Iterable[bytes | memoryview]) -> str:
    """Hex blake2b digest of the bytes of all parts, one after another."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def file_fingerprint(source: Path | BinaryIO) -> str:
    """Hex blake2b digest of a file's bytes, remembered for a large one with a path (see `content_digest`)."""
    return content_digest(source, DIGEST_BYTES) if isinstance(source, Path) else fingerprint(blocks(source))


def blocks(source: BinaryIO) -> Iterable[bytes]:
    """The bytes of an open file from its beginning, a block at a time."""
    source.seek(0)
    while block := source.read(BLOCK_BYTES):
        yield block
