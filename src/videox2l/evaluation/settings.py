"""What an evaluation compares: how a video is indexed, and how it is chosen what is read in full detail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from videox2l.compression.base import Compressor, Passes
from videox2l.compression.registry import COMPRESSORS
from videox2l.engine import VideoX2L
from videox2l.errors import SettingsError
from videox2l.index.format import read_is_text
from videox2l.index.video_index import VideoIndex
from videox2l.oracles.base import Oracle
from videox2l.selection.adaptive import Adaptive
from videox2l.selection.base import Selector
from videox2l.selection.even import Even
from videox2l.selection.one_level import OneLevel
from videox2l.selection.registry import SELECTORS, make_selector
from videox2l.selection.top_k import TopK


@dataclass(frozen=True)
class Setting:
    """One way to answer.

    name: what it is called in results; it has no default.
    compressor: the levels and how they are made; visual summary tokens at 2x and 32x by default. One level is the same
        compression for every chunk, (1,) none at all.
    oracle: what scores the chunks, where the selector reads scores: a name, or one made already; "contrastive" by
        default.
    selector: what chooses each chunk's level, where there are several; the 3 best chunks by default.
    chunk_frames: frames in a chunk, or the first chunks' sizes one by one, the last one repeated; 10 by default.
    same_size_as: the name of an earlier setting. For every question all chunks are then read at the one level whose
        cache comes closest in size to that setting's. None, the default, leaves the levels as they are.
    """

    name: str
    compressor: Compressor = field(default_factory=lambda: COMPRESSORS.make("summary_tokens"))
    oracle: str | Oracle = "contrastive"
    selector: Selector = field(default_factory=TopK)
    chunk_frames: int | tuple[int, ...] = 10
    same_size_as: str | None = None

    @classmethod
    def of(cls, engine: VideoX2L) -> Setting:
        """The setting an engine is in, named after it."""
        levels, selector = engine.compressor.levels, make_selector(engine.selector)
        name = "/".join(f"{level}x" for level in levels)
        if len(levels) == 1:
            name += " everywhere"
        else:
            name += f", {engine.oracle}" if selector.needs_scores else ""
            if isinstance(selector, TopK) and selector.fine_edges:
                name += f", k={selector.k}"
            else:
                name += ", adaptive" if selector == Adaptive() else f", {selector}"
        return cls(name, engine.compressor, engine.oracle, selector, engine.chunk_frames)

    @property
    def selects(self) -> bool:
        """Whether some chunks are read in more detail than others."""
        return self.same_size_as is None and len(self.compressor.levels) > 1 and not isinstance(self.selector, OneLevel)

    def engine(self, base: VideoX2L) -> VideoX2L:
        """The engine of this setting with another's model, encoder and store. Raises: SettingsError."""
        selector = self.selector if self.selects or isinstance(self.selector, OneLevel) else OneLevel()
        return replace(
            base,
            compressor=self.compressor,
            chunk_frames=self.chunk_frames,
            oracle=self.oracle if selector.needs_scores else base.oracle,
            selector=selector,
        )

    def at_one_level(self, level: int) -> Setting:
        """This setting with every chunk read at the same level, the first and the last one too."""
        changes: dict[str, Any] = {"levels": (level,)}
        if self.compressor.passes == "two_pass":  # at one level the same as single_pass, but for the edges
            changes["passes"] = "single_pass"
        return replace(self, compressor=replace(self.compressor, **changes), selector=OneLevel(level))

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        values: dict[str, Any] = {"name": self.name, "compressor": COMPRESSORS.describe(self.compressor)}
        if self.selects:
            if self.selector.needs_scores:
                values["oracle"] = str(self.oracle)
            values["selector"] = SELECTORS.describe(self.selector)
        return values | {"chunk_frames": self.chunk_frames, "same_size_as": self.same_size_as}


def comparison(method: Setting, has_encoder: bool = True) -> tuple[Setting, ...]:
    """A setting among all it must beat; the others are measured against the first, the finest level everywhere.

    Beside the method stand other oracles (a random one among them), evenly spaced chunks, and one level for all chunks
    in a cache of equal size. The video's first and last chunk are read in full detail in all of them, but for those
    with one level everywhere.

    method: the setting; only the full cache is compared with one that has a single level.
    has_encoder: whether the model comes with the dual encoder that the contrastive oracle needs.
    """
    levels, name = method.compressor.levels, method.name.split(",")[0]
    full = replace(method.at_one_level(1), name="full cache")
    if len(levels) == 1:
        return (method, full)
    return (
        replace(method.at_one_level(levels[0]), name=f"{levels[0]}x everywhere"),
        method,
        *other_choices(method, name, has_encoder),
        replace(method, name="one level, equal size", same_size_as=method.name),
        replace(method.at_one_level(levels[-1]), name=f"{levels[-1]}x everywhere"),
        *other_passes(method, name),
        full,
    )


def other_choices(method: Setting, name: str, has_encoder: bool) -> Iterator[Setting]:
    """The same levels, other chunks."""
    if method.selector.needs_scores:
        for oracle in ["contrastive"] * has_encoder + ["probe", "attention", "random"]:
            if oracle != method.oracle:
                yield replace(method, name=f"{name}, {oracle}", oracle=oracle)
    if isinstance(method.selector, TopK):
        even = Even(method.selector.k, fine_edges=method.selector.fine_edges)
        yield replace(method, name=f"{name}, evenly spaced", selector=even)
    if isinstance(method.selector, Adaptive) and len(method.compressor.levels) == 2:
        yield replace(method, name=f"{name}, k=3", selector=TopK(3))
        yield replace(method, name=f"{name}, evenly spaced", selector=Even(3))


def other_passes(method: Setting, name: str) -> Iterator[Setting]:
    """The same levels, made in two passes instead of one or the other way round, where a compressor knows both."""
    from videox2l.compression.summary_tokens import SummaryTokens

    if isinstance(method.compressor, SummaryTokens):
        passes: Passes = "two_pass" if method.compressor.passes == "single_pass" else "single_pass"
        yield replace(method, name=f"{name}, {passes}", compressor=replace(method.compressor, passes=passes))


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
                f"{setting.name!r} is to be as large as {setting.same_size_as!r}, and no setting before it has that "
                "name: put that one first"
            )
        seen.add(setting.name)
        setting.engine(engine)


def of_size(setting: Setting, index: VideoIndex, cache_tokens: int) -> Setting:
    """The setting with the one level whose cache comes closest to a size.

    index: of the video, at any levels. cache_tokens: the size, with the prompt.
    """
    shelf = index.store.shelf(index.key)
    text = [int(read_is_text(shelf, chunk).sum()) for chunk in range(len(index.entries))]
    visual = [entry.raw_tokens - kept for entry, kept in zip(index.entries, text, strict=True)]

    def size(level: int) -> int:
        return len(index.prompt) + sum(text) + sum(max(1, round(tokens / level)) for tokens in visual)

    levels = range(1, max(visual) + 1)
    return setting.at_one_level(min(levels, key=lambda level: abs(size(level) - cache_tokens)))
