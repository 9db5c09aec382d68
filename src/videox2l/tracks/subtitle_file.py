"""Subtitle files: .srt, .vtt and .ass in any encoding, to cues in time order."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from videox2l.errors import SettingsError
from videox2l.times import clock
from videox2l.types import Cue

LARGEST_BYTES = 20_000_000
"""More than the subtitles of a day."""
SHORTEST_S = 1.0
"""How long a cue is taken to last that ends before it starts."""
OVERLAP_S = 0.05
"""Cues that overlap by less do so by rounding."""
DAMAGED_SHARE = 0.1
"""More damaged characters than so many of those beyond ASCII are a sign of another encoding."""
TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.]*>")
""""<i>", "<c.yellow>", "<v Anna>", "</font>", and the times inside of a WebVTT cue."""
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\N{REPLACEMENT CHARACTER}]")
"""What is damaged, and what would command a terminal."""


def read_bytes(path: Path) -> bytes:
    """A subtitle file's content. Raises: SettingsError if it can't be read, or is far too large."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise SettingsError(f"{path} has more than {LARGEST_BYTES // 10**6} MB: pass a subtitle file")
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} can't be read ({error.strerror}): pass a .srt, .vtt or .ass file") from None


def parse(content: bytes, name: str) -> tuple[tuple[Cue, ...], tuple[str, ...]]:
    """The cues of a file in the order they stand, with tags, and what the user should know of it.

    Raises: SettingsError if it holds no subtitles.
    """
    if not content.strip():
        raise SettingsError(f"{name} is an empty file: pass a .srt, .vtt or .ass file")
    text, notes = decode(content, name)
    cues = cues_in(text)
    if not cues:
        raise SettingsError(f"{name} holds no text with times: pass a .srt, .vtt or .ass file")
    return tuple(cues), notes


def decode(content: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """A file's text: UTF-8 or UTF-16 as it says itself, else in the encoding that fits best, which a note names."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace"), ()
    text = content.decode("utf-8-sig", errors="replace")
    damaged = text.count("\N{REPLACEMENT CHARACTER}")
    if not damaged:
        return text, ()
    if DAMAGED_SHARE * sum(letter > "\x7f" for letter in text) > damaged:
        return text, (f"damaged characters of {name} were left out: {damaged}",)
    from charset_normalizer import from_bytes  # seldom needed

    guess = from_bytes(content).best()
    if guess is None:
        raise SettingsError(f"{name} is not text in any encoding that is known: save it in UTF-8")
    return str(guess), (f"{name} is not in UTF-8: it was read as {guess.encoding}, which is a guess",)


def cues_in(text: str) -> list[Cue]:
    """The cues of a file, in the order they stand, with tags."""
    from pysubs2 import Pysubs2Error, SSAFile

    is_webvtt = text.lstrip().startswith("WEBVTT")
    kind = "vtt" if is_webvtt else "ass" if "[script info]" in text[:10_000].lower() else "srt"
    try:
        lines = SSAFile.from_string(text, kind).get_text_events()
    except (Pysubs2Error, ValueError, IndexError, KeyError):
        return []
    cues = [Cue(line.start / 1000, line.end / 1000, line.text) for line in lines]
    if is_webvtt:  # a blank line ends a cue; what pysubs2 reads on are comments and names
        cues = [replace(cue, text=re.split(r"\\N\s*\\N", cue.text)[0]) for cue in cues]
    return cues


def tidy(cues: Iterable[Cue], name: str, end_s: float) -> tuple[tuple[Cue, ...], tuple[str, ...]]:
    """Cues in time order without tags, and a note on each kind of them that could not stay as it was.

    cues: with tags. name: of what they are from. end_s: where the video ends, in seconds.
    """
    plain = [replace(cue, text=plain_text(cue.text)) for cue in cues]
    said = sorted((cue for cue in plain if cue.text), key=lambda cue: cue.start_s)
    inside = [cue for cue in said if cue.start_s < end_s and (cue.end_s > 0 or cue.end_s <= cue.start_s >= 0)]
    lasting = [cue if cue.end_s > cue.start_s else replace(cue, end_s=cue.start_s + SHORTEST_S) for cue in inside]
    overlapping = sum(later.start_s < earlier.end_s - OVERLAP_S for earlier, later in pairwise(lasting))
    notes = {
        f"beyond the video, which ends at {clock(end_s)}, were left out": len(said) - len(inside),
        "that end before they start were taken to last a second": sum(cue.end_s <= cue.start_s for cue in inside),
        "that overlap the one before were kept as they are": overlapping,
    }
    return tuple(lasting), tuple(f"cues of {name} {what}: {number}" for what, number in notes.items() if number)


def plain_text(text: str) -> str:
    """A text in one line, without the tags of SubStation Alpha and HTML."""
    from pysubs2 import SSAEvent

    text = html.unescape(TAG.sub("", SSAEvent(text=text).plaintext))
    return UNPRINTABLE.sub("", " ".join(text.split()))
