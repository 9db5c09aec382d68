"""MkDocs' hook: a line `<!-- generated: name -->` in a page gives way to what the code says."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from commands import commands_reference
from json_fields import fields_table
from sizes import sizes_table

GENERATED: dict[str, Callable[[], str]] = {
    "commands": commands_reference,
    "sizes": cache(sizes_table),
    "answer_json": partial(fields_table, "AnswerJson"),
    "chat_moments_json": partial(fields_table, "ChatMomentsJson"),
    "first_look_json": partial(fields_table, "LookJson"),
    "moment_json": partial(fields_table, "MomentJson"),
    "cue_json": partial(fields_table, "CueJson"),
    "chunk_json": partial(fields_table, "ChunkJson"),
    "sampling_json": partial(fields_table, "SamplingJson"),
    "index_json": partial(fields_table, "IndexJson"),
    "find_json": partial(fields_table, "FindJson"),
    "clip_json": partial(fields_table, "ClipJson"),
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in what is generated. Raises: KeyError for a name that nothing generates."""
    return re.sub(r"^<!-- generated: (\w+) -->$", lambda mark: GENERATED[mark[1]](), markdown, flags=re.MULTILINE)
