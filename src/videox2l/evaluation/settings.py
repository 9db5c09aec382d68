"""What an evaluation compares: how a video is indexed, and how it is chosen what is read in full detail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from videox2l.compression.base import Compressor, Passes
from videox2l.compression.fresh import Fresh
from videox2l.compression.registry import COMPRESSORS
from videox2l.engine import VideoX2L
from videox2l.errors import SettingsError
from videox2l.index.format import read_is_text
from videox2l.index.video_index import VideoIndex
from videox2l.levels import FRESH, Level, level_name, plain_level
from videox2l.oracles.base import Oracle
from videox2l.selection.adaptive import Adaptive
from videox2l.selection.base import Selector
from videox2l.selection.even import Even
from videox2l.selection.frames.base import FrameSelector
from videox2l.selection.one_level import OneLevel
from videox2l.selection.registry import SELECTORS, make_selector
from videox2l.selection.top_k import TopK
from videox2l.types import VideoTokens

FRAME_METHODS = ("uniform", "top_k")
"""How frames are selected in a comparison, if the user does not say."""


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
    same_size_as: the name of an earlier setting. A selector with a budget, `cache_tokens`, then has for every question
        what that setting's cache had; with any other, for every question all chunks are read at the one level whose
        cache comes closest in size to that setting's. None, the default, leaves levels and budget as they are.
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
        name = "/".join(map(level_name, levels))
        if len(levels) == 1 and not leaves_out(selector):
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
        if isinstance(self.selector, OneLevel) or not (self.same_size_as is None or self.has_budget):
            return False
        return len(self.compressor.levels) > 1 or leaves_out(self.selector)

    @property
    def has_budget(self) -> bool:
        """Whether the selector is told how many tokens it may have."""
        return hasattr(self.selector, "cache_tokens")

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

    def at_one_level(self, level: Level) -> Setting:
        """This setting with every chunk read at the same level, the first and the last one too."""
        if level == FRESH:
            return replace(self, compressor=Fresh(positions=self.compressor.positions), selector=OneLevel(level))
        changes: dict[str, Any] = {"levels": (level,)}
        if self.compressor.passes == "two_pass":  # at one level the same as single_pass, but for the edges
            changes["passes"] = "single_pass"
        return replace(self, compressor=replace(self.compressor, **changes), selector=OneLevel(level))

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        levels = [plain_level(level) for level in self.compressor.levels]
        compressor = COMPRESSORS.describe(self.compressor) | {"levels": levels}
        values: dict[str, Any] = {"name": self.name, "compressor": compressor}
        if self.selects:
            if self.selector.needs_scores:
                values["oracle"] = str(self.oracle)
            values["selector"] = SELECTORS.describe(self.selector)
            if self.same_size_as is not None:
                del values["selector"]["cache_tokens"]
        return values | {"chunk_frames": self.chunk_frames, "same_size_as": self.same_size_as}


def comparison(
    method: Setting, has_encoder: bool = True, frame_methods: tuple[str, ...] = FRAME_METHODS
) -> tuple[Setting, ...]:
    """A setting among all it must beat; the others are measured against the first, the finest level everywhere.

    Beside the method stand other oracles (a random one among them), evenly spaced chunks, and in a cache of equal size
    one level for all chunks, and frames instead of chunks. The video's first and last chunk are read in full detail in
    all of them, but for those with one level everywhere and with frames.

    method: the setting; only the full cache is compared with one that reads the whole video at a single level.
    has_encoder: whether the model comes with the dual encoder that the contrastive oracle needs.
    frame_methods: how frames are selected, see `frame_settings`; uniform and top_k by default.
    """
    levels, name = method.compressor.levels, method.name.split(",")[0]
    has_ratios = method.compressor.makes_kvs
    full = replace(method.at_one_level(1 if has_ratios else FRESH), name="full cache")
    if not method.selects:
        return (method, full)
    frames = () if isinstance(method.selector, FrameSelector) else frame_settings(method, has_encoder, frame_methods)
    if not has_ratios:
        return (full, method, *other_choices(method, name, has_encoder), *frames)
    finest = replace(method.at_one_level(levels[0]), name=f"{level_name(levels[0])} everywhere")
    coarsest = replace(method.at_one_level(levels[-1]), name=f"{level_name(levels[-1])} everywhere")
    return (
        finest,
        method,
        *other_choices(method, name, has_encoder),
        replace(method, name="one level, equal size", selector=OneLevel(), same_size_as=method.name),
        *frames,
        *([coarsest] if len(levels) > 1 else []),
        *other_passes(method, name),
        full,
    )


def frame_settings(
    method: Setting, has_encoder: bool = True, frame_methods: tuple[str, ...] = FRAME_METHODS
) -> Iterator[Setting]:
    """Frames instead of chunks, with as many tokens as another setting has for the same question.

    Each method in two arms: its frames are prefilled anew, and their KVs re-loaded where the compressor makes any.

    method: the other setting. has_encoder: without the encoder that scores frames there are only uniform ones.
    frame_methods: uniform, top_k, aks, bolt and adaq, as the selectors are called behind "frames_".
    """
    arms: dict[str, Compressor] = {"fresh": Fresh(positions=method.compressor.positions)}
    if method.compressor.makes_kvs:
        arms["re-loaded"] = method.at_one_level(1).compressor
    for each in frame_methods:
        selector = SELECTORS.make(f"frames_{each}", cache_tokens=1)
        if selector.needs_scores and not has_encoder:
            continue
        for arm, compressor in arms.items():
            yield replace(
                method,
                name=f"frames {each}, {arm}",
                compressor=compressor,
                oracle="contrastive" if has_encoder else method.oracle,
                selector=selector,
                same_size_as=method.name,
            )


def leaves_out(selector: Selector) -> bool:
    """Whether a selector reads nothing of some chunks."""
    return isinstance(selector, FrameSelector) or getattr(selector, "leaves_out", False)


def other_choices(method: Setting, name: str, has_encoder: bool) -> Iterator[Setting]:
    """The same levels, other chunks."""
    if method.selector.needs_scores:
        reads_kvs = ["attention"] * method.compressor.makes_kvs
        for oracle in ["contrastive"] * has_encoder + ["probe", *reads_kvs, "random"]:
            if oracle != method.oracle:
                yield replace(method, name=f"{name}, {oracle}", oracle=oracle)
    if isinstance(method.selector, TopK):
        chosen = method.selector
        even = Even(chosen.k, fine_edges=chosen.fine_edges, leaves_out=chosen.leaves_out)
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
    chunks = [VideoTokens.of_mask(read_is_text(shelf, chunk)) for chunk in range(len(index.entries))]

    def size(level: int) -> int:
        return len(index.prompt) + sum(setting.compressor.predicted_tokens(chunk, level) for chunk in chunks)

    levels = range(1, max(map(len, chunks)) + 1)
    return setting.at_one_level(min(levels, key=lambda level: abs(size(level) - cache_tokens)))
