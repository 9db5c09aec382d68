"""The timeline picture of an answer: thumbnails over time, relevance as bars, the level of each chunk as its color."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from torch import Tensor

from videox2l.errors import SettingsError, StoreError
from videox2l.times import clock
from videox2l.types import ChunkReport

FINE, BETWEEN, COARSE = "#2563eb", "#93c5fd", "#cbd5e1"
THUMBNAILS = 12


def draw_timeline(title: str, subtitle: str, chunks: Sequence[ChunkReport], thumbnails: Tensor) -> Figure:
    """Relevance and level of every chunk, with frame thumbnails above; bars of equal height where nothing was scored.

    thumbnails: a picture of each chunk, uint8 (chunks, 3, h, w).
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    strip, bars = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2])
    starts = np.array([chunk.start_s for chunk in chunks])
    widths = np.array([chunk.end_s - chunk.start_s for chunk in chunks])
    begin_s, end_s = starts[0], starts[-1] + widths[-1]

    levels = sorted({chunk.level for chunk in chunks})
    colors = {level: BETWEEN for level in levels} | {levels[-1]: COARSE} | {levels[0]: FINE}
    shown = np.unique(np.linspace(0, len(chunks) - 1, THUMBNAILS).astype(int))
    cell_s = (end_s - begin_s) / len(shown)
    strip.set_ylim(0, 1)
    for place, chunk in enumerate(shown):
        image = thumbnails[int(chunk)].permute(1, 2, 0).numpy()  # (h, w, 3)
        box = (begin_s + (place + 0.03) * cell_s, 0.05, cell_s * 0.94, 0.9)
        inset = strip.inset_axes(box, transform=strip.transData)
        inset.imshow(image)
        inset.set(xticks=[], yticks=[])
        for spine in inset.spines.values():
            spine.set(edgecolor=colors[chunks[chunk].level], linewidth=2)
    strip.set_axis_off()
    strip.set_title(title, loc="left", fontsize=12, wrap=True, parse_math=False)

    scored = [chunk.score for chunk in chunks if chunk.score is not None]
    scores = np.array(scored or [1.0] * len(chunks))
    floor = scores.min() - 0.08 * (np.ptp(scores) or 1.0)  # so that the least relevant chunk has a bar too
    for level in levels:
        of_level = np.array([chunk.level == level for chunk in chunks])
        bars.bar(
            starts[of_level],
            scores[of_level] - floor,
            widths[of_level] * 0.96,
            bottom=floor,
            align="edge",
            color=colors[level],
            label=f"{level}x",
        )
    bars.set(xlim=(begin_s, end_s), xlabel="time", ylabel="relevance" if scored else None)
    if not scored:
        bars.set_yticks([])
    bars.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    bars.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
    bars.spines[["top", "right"]].set_visible(False)
    bars.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, ncols=4, fontsize=9)
    bars.set_title(subtitle, loc="left", fontsize=9, color="#475569")
    return figure


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
