"""Draws the figures of how-it-works.md: `python docs/generate/figures.py` writes them to docs/figures/."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

FIGURES = Path(__file__).parents[1] / "figures"
INK, PALE, FINE, COARSE, FULL = "#1f2937", "#6b7280", "#4f46e5", "#f59e0b", "#94a3b8"
SCORES = (0.22, 0.35, 0.92, 0.30, 0.78, 0.18)
CHOSEN = {2, 4}
EDGES = {0, 5}
CELL = 7


class Drawing:
    """An SVG picture on a white ground, so that it reads on a dark page too."""

    def __init__(self, width: int, height: int, title: str):
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, fill: str, radius: float = 0) -> None:
        """A filled rectangle."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" fill="{fill}"/>'
        )

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """An empty rectangle with round corners."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="none" stroke="{PALE}"/>'
        )

    def text(self, x: float, y: float, text: str, size: int = 14, fill: str = INK, anchor: str = "start") -> None:
        """A line of text."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def arrow(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """A line with a head at its end."""
        self.parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{PALE}" stroke-width="1.5" '
            'marker-end="url(#head)"/>'
        )

    def cells(self, x: float, y: float, number: int, fill: str, columns: int = 8) -> None:
        """Tokens as small squares, row by row."""
        for cell in range(number):
            column, row = cell % columns, cell // columns
            self.box(x + column * (CELL + 2), y + row * (CELL + 2), CELL, CELL, fill, 1)

    def svg(self) -> str:
        """The picture's file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'font-family="sans-serif"><title>{escape(self.title)}</title>'
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0L10 5L0 10z" fill="{PALE}"/></marker></defs>'
        )
        ground = f'<rect width="{self.width}" height="{self.height}" rx="8" fill="#ffffff"/>'
        return "\n".join([head, ground, *self.parts, "</svg>\n"])


def place(chunk: int) -> float:
    """The left side of a chunk's column."""
    return 196 + chunk * 92


def indexing() -> str:
    """Once for a video: chunks, prefill, two levels, the store."""
    drawing = Drawing(760, 330, "Indexing: each chunk is prefilled once and kept at two levels")
    drawing.text(20, 48, "sampled frames")
    drawing.text(20, 66, "in chunks of 10", 12, PALE)
    drawing.text(20, 136, "every token's KVs")
    drawing.text(20, 154, "only while the chunk runs", 12, PALE)
    drawing.text(20, 218, "L-KVs, 2x: the details", fill=FINE)
    drawing.text(20, 266, "H-KVs, 32x: the gist", fill="#b45309")
    for chunk in range(6):
        x = place(chunk)
        drawing.frame(x - 6, 24, 82, 50)
        for frame in range(10):
            drawing.box(x + frame % 5 * 14, 30 + frame // 5 * 20, 12, 16, "#cbd5e1", 2)
        drawing.arrow(x + 35, 78, x + 35, 106)
        drawing.cells(x, 112, 32, FULL)
        drawing.arrow(x + 35, 152, x + 35, 196)
        drawing.cells(x, 204, 16, FINE)
        drawing.cells(x, 258, 1, COARSE)
    drawing.text(place(0) + 46, 177, "compress", 12, PALE)
    drawing.frame(place(0) - 10, 194, 556, 84)
    drawing.text(place(0) - 10, 302, "the store: on disk or in RAM, off the accelerator", 13, PALE)
    return drawing.svg()


def answering() -> str:
    """For every question: scores, levels, one cache, the answer."""
    drawing = Drawing(760, 400, "Answering: scores choose a level for every chunk, and these become one small cache")
    drawing.text(20, 34, "“What does she write on the board?”", 15)
    drawing.arrow(150, 44, 150, 66)
    drawing.text(20, 88, "the oracle's scores")
    drawing.text(20, 106, "how relevant is each chunk?", 12, PALE)
    drawing.text(20, 196, "the selector's levels")
    drawing.text(20, 214, "the best in detail, and the edges", 12, PALE)
    drawing.text(20, 292, "one KV cache")
    drawing.text(20, 310, "in temporal order", 12, PALE)
    cursor = place(0)
    for chunk, score in enumerate(SCORES):
        x, is_fine = place(chunk), chunk in CHOSEN | EDGES
        fill = FINE if is_fine else COARSE
        drawing.box(x, 150 - 100 * score, 70, 100 * score, FINE if chunk in CHOSEN else "#cbd5e1", 3)
        drawing.text(x + 35, 144 - 100 * score, f"{score:.2f}", 12, PALE, "middle")
        drawing.arrow(x + 35, 154, x + 35, 176)
        drawing.cells(x, 184, 16 if is_fine else 1, fill)
        drawing.text(x + 84 - 14, 222, "2x" if is_fine else "32x", 12, PALE, "end")
        columns = 8 if is_fine else 1
        drawing.cells(cursor, 284, 16 if is_fine else 1, fill, columns)
        drawing.arrow(x + 20, 228, cursor + columns * (CELL + 2) / 2, 278)
        cursor += columns * (CELL + 2) + 6
    drawing.frame(place(0) - 8, 274, cursor - place(0) + 8, 40)
    drawing.arrow(place(0) + 130, 318, place(0) + 130, 346)
    drawing.text(place(0) + 130, 366, "the answer is decoded from this cache alone", 14, INK, "middle")
    drawing.text(place(0) + 130, 386, "and comes with the moments it was read from", 12, PALE, "middle")
    return drawing.svg()


PICTURES = {"indexing.svg": indexing, "answering.svg": answering}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FIGURES / name).write_text(draw())
