"""A hex digest of a video's content: the same wherever it lies and however it is sampled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 1 << 20


def fingerprint(parts: Iterable[bytes | memoryview]) -> str:
    """Hex blake2b digest of the bytes of all parts, one after another."""
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def blocks(source: Path | BinaryIO) -> Iterable[bytes]:
    """The bytes of a file from its beginning, a block at a time."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield from blocks(file)
        return
    source.seek(0)
    while block := source.read(BLOCK_BYTES):
        yield block
