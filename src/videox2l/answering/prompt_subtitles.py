"""What is said around the selected moments, as text before the question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from videox2l.times import clock
from videox2l.tracks.subtitles import SubtitleTrack
from videox2l.types import Cue

Span = tuple[float, float]
"""From when to when, in seconds."""


def cues_for_prompt(
    track: SubtitleTrack, moments: Iterable[Span], room: int, tokens: Callable[[str], int]
) -> tuple[tuple[Cue, ...], tuple[str, ...]]:
    """The cues that are shown during moments, in temporal order, and a note if there was no room for all of them.

    moments: the most relevant first; their cues are the first to be taken in. room: tokens that the cues may have.
    tokens: how many tokens a text has.
    """
    wanted = list(dict.fromkeys(cue for start_s, end_s in moments for cue in track.between(start_s, end_s)))
    taken: list[Cue] = []
    for cue in wanted:
        room -= tokens(f"{line(cue)}\n")
        if room < 0:
            break
        taken.append(cue)
    missing = len(wanted) - len(taken)
    notes = (f"{missing} of {len(wanted)} cues of {track.name} found no room in the prompt: left out",)
    return tuple(sorted(taken, key=lambda cue: cue.start_s)), notes if missing else ()


def question_with(cues: Sequence[Cue], question: str) -> str:
    """A question behind the text of cues with their times, as the model reads it."""
    return "\n".join(["Subtitles:", *map(line, cues), "", question]) if cues else question


def line(cue: Cue) -> str:
    """A cue as it stands in the prompt."""
    return f"[{clock(cue.start_s)}] {cue.text}"
