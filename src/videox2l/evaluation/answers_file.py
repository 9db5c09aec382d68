"""Answers of an evaluation in a file, a JSON object a line, so that an interrupted one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from videox2l.errors import SettingsError, StoreError


@dataclass(frozen=True, kw_only=True)
class GivenAnswer:
    """What a model said to one question in one setting.

    text: the answer.
    recall: shares of the chunks that show what is asked about: among the k of highest score ("@1", "@3"; only where
        chunks are scored), and among those read in full detail ("in_detail", which a video's first and last chunk may
        be without a place among the k); empty where nothing is selected or it is not known when it is shown.
    cache_tokens, full_cache_tokens: tokens in the cache, and without compression.
    level: the one level it took to be of another setting's size; None for other settings.
    notes: what came with the answer.
    ratios: the real compression ratio of the chunks that were read at each level, by the level's name.
    index_s: seconds that indexing the video took.
    ask_s: seconds that passed since the answer before it, or the start, since several questions are answered at once.
    prefill_s: seconds of the question in which chunks or frames were prefilled anew.
    """

    text: str
    recall: Mapping[str, float]
    cache_tokens: int
    full_cache_tokens: int
    level: int | None = None
    notes: tuple[str, ...] = ()
    ratios: Mapping[str, float] = field(default_factory=dict)
    index_s: float = field(default=0.0, compare=False)
    ask_s: float = field(default=0.0, compare=False)
    prefill_s: float = field(default=0.0, compare=False)


class AnswersFile:
    """Answers by a key that stands for all they depend on; every new one is in the file at once.

    path: the file, which is made if it is not there. A line that an interrupted run left unfinished is passed over.
    Raises: StoreError if it can't be read or written, SettingsError if it is something else.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with open(path, "a+b") as file:
                file.seek(0)
                content = file.read()
        except OSError as error:
            raise StoreError(f"can't write to {path} ({error.strerror}): choose another --out") from error
        self._is_torn = bool(content) and not content.endswith(b"\n")
        self._given: dict[str, GivenAnswer] = {}
        for number, line in enumerate(content.splitlines(), 1):
            try:
                values = json.loads(line)
            except ValueError:
                values = {} if line.startswith(b'{"key"') else None
            if values == {}:
                continue
            try:
                given = {each.name: values[each.name] for each in fields(GivenAnswer) if each.name in values}
                self._given[values["key"]] = GivenAnswer(**given | {"notes": tuple(given["notes"])})
            except (KeyError, TypeError) as error:
                raise SettingsError(
                    f"{path}, line {number} is not an answer of an evaluation: choose another --out"
                ) from error

    def get(self, key: str) -> GivenAnswer | None:
        """The answer of a key, if it was given."""
        return self._given.get(key)

    def add(self, key: str, given: GivenAnswer, about: Mapping[str, Any]) -> None:
        """Keep an answer. about: what a reader of the file wants to know of it."""
        self._given[key] = given
        line = json.dumps({"key": key, **about, **vars(given)}, ensure_ascii=False, allow_nan=False)
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("\n" * self._is_torn + line + "\n")
        except OSError as error:
            raise StoreError(f"can't write to {self.path} ({error.strerror}): choose another --out") from error
        self._is_torn = False
