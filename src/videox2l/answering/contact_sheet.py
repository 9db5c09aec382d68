"""A picture of moments: the best frame of each, with its time and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from videox2l.answering.timeline import best_s
from videox2l.times import clock
from videox2l.types import Moment

FEWEST_COLUMNS, MOST_COLUMNS = 3, 5
"""A title has no room above fewer."""


def draw_moments(title: str, moments: Sequence[Moment], pictures: Sequence[np.ndarray]) -> Figure:
    """The moments' pictures in the order given, at most `MOST_COLUMNS` in a row.

    moments: one or more. pictures: one of each moment, uint8 (h, w, 3).
    """
    columns = min(max(len(moments), FEWEST_COLUMNS), MOST_COLUMNS)
    rows = -(-len(moments) // columns)
    height, width = pictures[0].shape[:2]
    figure = Figure(figsize=(2.4 * columns + 0.4, (2.4 * height / width + 0.35) * rows + 0.5), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, parse_math=False)
    axes = figure.subplots(rows, columns, squeeze=False)
    for place in axes.flat:
        place.set_axis_off()
    for place, moment, picture in zip(axes.flat, moments, pictures, strict=False):
        place.imshow(picture)
        sure = "" if moment.confidence is None else f"  {moment.confidence:.0%} sure"
        place.set_title(f"{clock(best_s(moment))}{sure}", loc="left", fontsize=9)
    return figure
