"""The timeline of an answer: pictures over time, each chunk's relevance as a bar, and its level as the bar's color."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from videox2l.errors import SettingsError, StoreError
from videox2l.levels import level_name
from videox2l.times import clock
from videox2l.tracks.thumbnails import ThumbnailStrip
from videox2l.types import ChunkReport, FrameScores, Moment

FINE, BETWEEN, COARSE, UNCHOSEN = "#2563eb", "#93c5fd", "#cbd5e1", "#94a3b8"
MOMENT = "#dc2626"
TITLE_CHARACTERS = 110
"""In a line of the title."""
PICTURES = 10
"""In a timeline; more if there are more moments."""


def draw_timeline(
    title: str,
    subtitle: str,
    chunks: Sequence[ChunkReport],
    moments: Sequence[Moment],
    frames: FrameScores | None,
    thumbnails: ThumbnailStrip,
) -> Figure:
    """Relevance and level of every chunk, with pictures above; bars of equal height where nothing was scored.

    The pictures are those of the moments, framed in red, and others in between. frames: where single frames were
    scored, drawn as a line.
    """
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    strip, bars = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.6])
    begin_s, end_s = chunks[0].start_s, chunks[-1].end_s
    # cut here, since matplotlib measures a line with dollar signs as a formula where it cuts by itself
    strip.set_title(fill(title, TITLE_CHARACTERS), loc="left", fontsize=12, parse_math=False)
    draw_pictures(strip, begin_s, end_s, moments, thumbnails)
    scores = [chunk.score for chunk in chunks if chunk.score is not None]
    if frames is not None:
        scores += frames.scores.tolist()
        bars.plot(frames.time_s, frames.scores, color="#0f172a", linewidth=0.8, label="frames")
    lowest, highest = min(scores, default=0.0), max(scores, default=1.0)
    floor = lowest - 0.08 * (highest - lowest or 1.0)  # so that the least relevant chunk has a bar too
    draw_bars(bars, chunks, floor)
    bars.set_ylim(floor, highest + 0.08 * (highest - floor))
    for moment in moments:
        bars.axvspan(moment.start_s, moment.end_s, ymin=0.97, color=MOMENT, linewidth=0)
    bars.set(xlim=(begin_s, end_s), xlabel="time")
    bars.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    bars.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
    bars.spines[["top", "right"]].set_visible(False)
    bars.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, ncols=5, fontsize=9)
    bars.set_title(subtitle, loc="left", fontsize=9, color="#475569")
    return figure


def draw_pictures(
    axes: Axes, begin_s: float, end_s: float, moments: Sequence[Moment], thumbnails: ThumbnailStrip
) -> None:
    """Pictures of the moments and, in the middle of what they leave, of other frames; in temporal order, with times."""
    shown = {best_s(moment): True for moment in moments}
    cell_s = (end_s - begin_s) / max(PICTURES, len(shown))
    while len(shown) < PICTURES:
        edges = [begin_s - cell_s / 2, *sorted(shown), end_s + cell_s / 2]
        gaps = [(later - earlier, earlier) for earlier, later in pairwise(edges)]
        wide, earlier = max(gaps, key=lambda gap: (gap[0], -gap[1]))
        shown[min(max(earlier + wide / 2, begin_s), end_s)] = False
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    for place, (time_s, is_moment) in enumerate(sorted(shown.items())):
        box = (begin_s + (place + 0.03) * cell_s, 0.02, cell_s * 0.94, 0.84)
        inset = axes.inset_axes(box, transform=axes.transData)
        picture, time_s = thumbnails.nearest(time_s)
        inset.imshow(picture)
        inset.set(xticks=[], yticks=[])
        inset.set_title(
            clock(time_s),
            fontsize=8,
            pad=2,
            color=MOMENT if is_moment else "#475569",
            weight="bold" if is_moment else None,
        )
        inset.spines[:].set(edgecolor=MOMENT if is_moment else COARSE, linewidth=2.5 if is_moment else 1)


def draw_bars(axes: Axes, chunks: Sequence[ChunkReport], floor: float) -> None:
    """A bar for each chunk: its height the relevance, its color the level, paler if it was not chosen for it.

    floor: where bars begin.
    """
    is_scored = chunks[0].score is not None
    scores = np.array([1.0 if chunk.score is None else chunk.score for chunk in chunks])
    starts = np.array([chunk.start_s for chunk in chunks])
    widths = np.array([chunk.end_s - chunk.start_s for chunk in chunks])
    levels = sorted({chunk.level for chunk in chunks})
    finest_was_chosen = any(chunk.is_chosen for chunk in chunks)
    for level in levels:
        for is_chosen in (True, False):
            kind = np.array([chunk.level == level and chunk.is_chosen == is_chosen for chunk in chunks])
            if not kind.any():
                continue
            is_always_fine = level == levels[0] and finest_was_chosen and not is_chosen
            color = UNCHOSEN if is_always_fine else {levels[-1]: COARSE, levels[0]: FINE}.get(level, BETWEEN)
            axes.bar(
                starts[kind],
                scores[kind] - floor,
                widths[kind] * 0.96,
                bottom=floor,
                align="edge",
                color=color,
                label=f"{level_name(level)}, always" if is_always_fine else level_name(level),
            )
    if is_scored:
        axes.set_ylabel("relevance")
    else:
        axes.set_yticks([])


def best_s(moment: Moment) -> float:
    """The time of a moment that its picture is of: its best frame, else its middle."""
    return (moment.start_s + moment.end_s) / 2 if moment.peak_s is None else moment.peak_s


def save_figure(figure: Figure, file: Path) -> None:
    """Save a picture. Raises: SettingsError for an unknown format, StoreError if the file can't be written."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as a box; nothing the user can mend here
            figure.savefig(file, dpi=120)
    except ValueError as error:
        raise SettingsError(f"can't save a picture as {file.name}: end the name in .png, .pdf or .svg") from error
    except OSError as error:
        raise StoreError(f"can't write {file} ({error.strerror}): choose another place") from error
