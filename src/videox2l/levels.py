"""What a chunk is kept as and read as: KVs at a compression ratio, its tokens prefilled anew, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

from videox2l.errors import SettingsError

Level = int
"""How finely a chunk is kept or read: as KVs at a nominal compression ratio from 1 on, or as FRESH or NOTHING says. Of
two levels the smaller is the finer one."""

FRESH: Final[Level] = 0
"""The chunk's tokens as they enter the decoder, prefilled anew whenever the chunk is read: finer than any KVs."""

NOTHING: Final[Level] = sys.maxsize
"""Nothing of the chunk is read: coarser than any KVs. No index keeps it."""

NAMES: Mapping[Level, str] = {FRESH: "fresh", NOTHING: "nothing"}


def plain_level(level: Level) -> int | str:
    """A level as users write it and as JSON has it: 32, "fresh" or "nothing"."""
    return NAMES.get(level, level)


def level_name(level: Level) -> str:
    """A level in words: "32x", "fresh" or "nothing"."""
    return NAMES.get(level, f"{level}x")


def level_list(levels: Iterable[Level]) -> str:
    """Levels as the command line takes them: "fresh,32"."""
    return ",".join(str(plain_level(level)) for level in levels)


def kept_levels(given: Iterable[int | str]) -> tuple[Level, ...]:
    """The levels of an index, from numbers and names.

    Raises: SettingsError for what is no level that chunks are kept at, or levels that are not in order.
    """
    given = tuple(given)
    try:
        levels = tuple(FRESH if level == NAMES[FRESH] else int(level) for level in given)
    except (TypeError, ValueError):
        levels = ()
    if not levels or not all(FRESH <= level < NOTHING for level in levels):
        raise SettingsError(
            f"levels {given} are not compression ratios of 1 or more, or fresh: pass for example 2,32 or fresh,32"
        )
    if any(fine >= coarse for fine, coarse in pairwise(levels)):
        raise SettingsError(f"levels {given} are not in increasing order: pass the finest first, as in 2,32")
    return levels


def ratios_of(levels: Iterable[Level]) -> tuple[int, ...]:
    """Those of the levels that are KVs."""
    return tuple(level for level in levels if level not in NAMES)
