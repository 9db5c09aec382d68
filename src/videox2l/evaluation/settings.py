"""What an evaluation compares: ways to index a video and to choose what is read of it in full detail."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch

from videox2l.compression.base import Compressor
from videox2l.compression.summary_tokens import SummaryTokens
from videox2l.engine import VideoX2L
from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.oracles.base import Oracle
from videox2l.selection.top_k import select_top_k


@dataclass(frozen=True)
class Setting:
    """One way to answer, by name.

    compressor: levels and how they are made; one level is the same compression for every chunk, (1,) none at all.
    oracle, k: what is re-loaded in full detail, where there are two levels. chunk_frames: frames in a chunk.
    same_size_as: the name of an earlier setting; the levels are then the one ratio whose cache comes closest to its
    size.
    """

    name: str
    compressor: Compressor = field(default_factory=SummaryTokens)
    oracle: str | Oracle = "contrastive"
    k: int = 3
    chunk_frames: int | tuple[int, ...] = 10
    same_size_as: str | None = None

    @classmethod
    def of(cls, engine: VideoX2L) -> Setting:
        """The setting an engine is in, named after it."""
        levels = engine.compressor.levels
        name = "/".join(f"{level}x" for level in levels)
        name += f", {engine.oracle}, k={engine.k}" if len(levels) > 1 else " everywhere"
        return cls(name, engine.compressor, engine.oracle, engine.k, engine.chunk_frames)

    @property
    def selects(self) -> bool:
        """Whether chunks differ in level, so that the oracle matters."""
        return self.same_size_as is None and len(self.compressor.levels) > 1

    def engine(self, base: VideoX2L) -> VideoX2L:
        """The engine of this setting with another's model, encoder and store. Raises: SettingsError."""
        # With one level there is nothing to select: the oracle that costs nothing.
        oracle = self.oracle if self.selects else "uniform"
        return replace(base, compressor=self.compressor, chunk_frames=self.chunk_frames, oracle=oracle, k=self.k)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        values = asdict(self) | {"oracle": self.oracle if isinstance(self.oracle, str) else repr(self.oracle)}
        return values if self.selects else {name: values[name] for name in values if name not in ("oracle", "k")}


def comparison(method: Setting, has_encoder: bool = True) -> tuple[Setting, ...]:
    """A setting among all it must beat; the others are measured against the first, the finest level everywhere.

    A random oracle and one ratio for all chunks in a cache of equal size stand beside the method. has_encoder: whether
    the model comes with the dual encoder that the contrastive oracle needs.
    """
    levels, name = method.compressor.levels, method.name.split(",")[0]
    if len(levels) == 1:
        full = replace(method.compressor, levels=(1,))
        return (method, Setting("full cache", full, chunk_frames=method.chunk_frames))

    def at(name: str, compressor: Compressor, same_size_as: str | None = None) -> Setting:
        return replace(method, name=name, compressor=compressor, same_size_as=same_size_as)

    other_passes = []
    if isinstance(method.compressor, SummaryTokens):
        passes: Literal["single_pass", "two_pass"] = (
            "two_pass" if method.compressor.passes == "single_pass" else "single_pass"
        )
        other_passes = [at(f"{name}, {passes}", replace(method.compressor, passes=passes))]
    oracles = ["contrastive"] * has_encoder + ["probe", "attention", "uniform", "random"]
    return (
        at(f"{levels[0]}x everywhere", replace(method.compressor, levels=levels[:1])),
        method,
        *(replace(method, name=f"{name}, {other}", oracle=other) for other in oracles if other != method.oracle),
        at("one ratio, equal size", method.compressor, same_size_as=method.name),
        at(f"{levels[-1]}x everywhere", replace(method.compressor, levels=levels[-1:])),
        *other_passes,
        at("full cache", replace(method.compressor, levels=(1,))),
    )


PAPER = Setting("2x/32x, contrastive")
"""The method at the paper's settings."""


def check_settings(settings: tuple[Setting, ...], engine: VideoX2L) -> None:
    """Raises: SettingsError if names repeat, a setting refers to none before it, or one can't be built."""
    if not settings:
        raise SettingsError("there are no settings to evaluate: give one or more")
    seen: set[str] = set()
    for setting in settings:
        if setting.name in seen:
            raise SettingsError(f"two settings are called {setting.name!r}: give each a name of its own")
        if setting.same_size_as is not None and setting.same_size_as not in seen:
            raise SettingsError(
                f"{setting.name!r}'s size is that of {setting.same_size_as!r}, and no setting before it is called so: "
                "put that one first"
            )
        seen.add(setting.name)
        setting.engine(engine)


def of_size(setting: Setting, other: Setting, index: VideoIndex) -> Setting:
    """The setting with the one level whose cache comes closest to that of another setting.

    index: a video's index under the other setting.
    """
    nothing = torch.zeros(len(index.entries))
    target = index.tokens(select_top_k(nothing, index, other.k).levels) - len(index.prompt)

    def tokens(ratio: int) -> int:
        return sum(max(1, round(entry.raw_tokens / ratio)) for entry in index.entries)

    largest = max(entry.raw_tokens for entry in index.entries)
    ratio = min(range(1, largest + 1), key=lambda ratio: abs(tokens(ratio) - target))
    return replace(setting, compressor=replace(setting.compressor, levels=(ratio,)))
