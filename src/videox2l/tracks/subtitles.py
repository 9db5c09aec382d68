"""Subtitles of a video, from files beside it and from the streams in it: a track of text, not of frames.

They are found anew whenever a video is opened, and kept under the video's content, so that an index that was made
before has them too and a question needs neither the files nor the video.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from videox2l.digest import digest
from videox2l.errors import SettingsError, StoreError
from videox2l.store.base import Shelf, Store
from videox2l.times import clock
from videox2l.tracks.languages import LANGUAGES, language_code, script
from videox2l.tracks.subtitle_file import parse, plain_text, read_bytes, tidy
from videox2l.types import Cue
from videox2l.video import Video

FORMAT = 1
"""Of what is stored; raised when that changes."""
SUFFIXES = frozenset({".srt", ".vtt", ".ass", ".ssa"})
FORCED = "forced"
"""Marks subtitles that have foreign dialogue alone."""
MARKS = frozenset({FORCED, "default", "full", "sdh", "cc", "auto", "orig"})
"""What may stand in a subtitle file's name beside the language."""


@dataclass(frozen=True)
class SubtitleTrack:
    """A video's subtitles in one language.

    name: the file's, or "track 2" and its title for those in the video.
    language: its two-letter code; None where nothing says it.
    cues: in time order.
    """

    name: str
    language: str | None
    cues: tuple[Cue, ...]

    @cached_property
    def script(self) -> str | None:
        """The script that they are written in, as "LATIN"."""
        return script(" ".join(cue.text for cue in self.cues))

    def between(self, start_s: float, end_s: float) -> tuple[Cue, ...]:
        """The cues that are shown at any time of a range, in seconds."""
        return tuple(cue for cue in self.cues if cue.start_s < end_s and cue.end_s > start_s)


@dataclass(frozen=True)
class SubtitleSource:
    """What was read from a file, or from the video itself.

    digest: of the file's bytes; "" of the video, under whose content all of it is kept.
    tracks: the first is the one to take where nothing speaks for another. notes: what the user should know.
    """

    digest: str
    tracks: tuple[SubtitleTrack, ...]
    notes: tuple[str, ...]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SubtitleSource:
        """From `asdict`, read back."""
        tracks = (
            SubtitleTrack(track["name"], track["language"], tuple(Cue(**cue) for cue in track["cues"]))
            for track in values["tracks"]
        )
        return cls(values["digest"], tuple(tracks), tuple(values["notes"]))


def find_subtitles(video: Video, store: Store) -> tuple[tuple[SubtitleTrack, ...], tuple[str, ...]]:
    """The subtitles beside a video and in it, and what the user should know of them.

    Files come before the video's own, and what is named after the video alone before what has a language in its name.
    What the store has is read again only where a file has changed.
    Raises: StoreError.
    """
    shelf = store.shelf(f"subtitles-{digest({'format': FORMAT, 'content': video.fingerprint()})}")
    stored = stored_sources(shelf)
    found: dict[str, SubtitleSource] = {}
    for file in files_beside(video.path):
        try:
            found[file.name] = read_subtitles(file, video.duration_s, stored.get(file.name))
        except SettingsError as error:  # the user did not name it
            note = f"{str(error).rpartition(': ')[0]}: it was left out"
            found[file.name] = SubtitleSource("", (), (note,))
    found[""] = stored.get("") or from_streams(video)
    if found != stored:
        shelf.finish({"track": "subtitles", "sources": {name: asdict(source) for name, source in found.items()}})
    return (
        tuple(track for source in found.values() for track in source.tracks),
        tuple(note for source in found.values() for note in source.notes),
    )


def stored_sources(shelf: Shelf) -> dict[str, SubtitleSource]:
    """What was found before; nothing where it is damaged, since it is soon found again."""
    try:
        sources = (shelf.manifest() or {"sources": {}})["sources"]
        return {name: SubtitleSource.from_json(source) for name, source in sources.items()}
    except (StoreError, AttributeError, KeyError, TypeError):
        return {}


def check_subtitle_file(file: str | Path) -> None:
    """Raises: SettingsError for a file that can't be read or holds no subtitles."""
    parse(read_bytes(Path(file)), Path(file).name)


def read_subtitles(file: Path, end_s: float, known: SubtitleSource | None = None) -> SubtitleSource:
    """The subtitles of a file.

    end_s: where the video ends, in seconds. known: what was read from the file before, if anything was.
    Raises: SettingsError if it can't be read, holds no subtitles, or none for a time in the video.
    """
    content = read_bytes(file)
    content_digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    if known is not None and known.digest == content_digest:
        return known
    parsed, notes = parse(content, file.name)
    cues, more = tidy(parsed, file.name, end_s)
    if not cues:
        raise SettingsError(
            f"none of the {len(parsed)} cues of {file.name} has text within the video, which ends at {clock(end_s)}: "
            "pass the subtitles of this video"
        )
    language = next(filter(None, map(language_of_label, file.stem.split(".")[1:])), None)
    return SubtitleSource(content_digest, (SubtitleTrack(file.name, language, cues),), (*notes, *more))


def from_streams(video: Video) -> SubtitleSource:
    """The subtitles in a video itself."""
    tracks: list[SubtitleTrack] = []
    notes: list[str] = []
    for stream in video.subtitle_streams():
        title = plain_text(stream.title or "")
        name = f"track {stream.number} ({title})" if title else f"track {stream.number}"
        if stream.is_picture:
            notes.append(f"the subtitles of {name} are pictures, which can't be read as text: left out")
            continue
        cues, more = tidy(stream.cues, name, video.duration_s)
        notes += more
        if cues:
            tracks.append(SubtitleTrack(name, language_code(stream.language or ""), cues))
        elif stream.cues:
            notes.append(f"{name} holds no text at any time of the video: left out")
    return SubtitleSource("", tuple(tracks), tuple(notes))


def files_beside(video: Path | None) -> list[Path]:
    """Subtitle files named after a video: talk.srt, talk.en.srt and talk.mp4.srt for talk.mp4.

    Without a language first, those for foreign dialogue alone last.
    """
    if video is None:
        return []
    stem = video.name if video.is_dir() else video.stem
    try:
        files = [file for file in video.parent.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()]
    except OSError:
        return []
    labels = {file: file.stem[len(stem) :].lower().split(".")[1:] for file in files if file.stem.startswith(stem)}
    ending = video.suffix.lower()[1:]
    named = [
        file
        for file, parts in labels.items()
        if file.stem[len(stem) :].lower() == "".join(f".{part}" for part in parts)
        and all(part == ending or part in MARKS or language_of_label(part) for part in parts)
    ]
    return sorted(named, key=lambda file: (FORCED in labels[file], len(labels[file]), file.name))


def in_language(
    tracks: Sequence[SubtitleTrack], language: str | None
) -> tuple[tuple[SubtitleTrack, ...], tuple[str, ...]]:
    """The subtitles in a language, else those that do not say theirs, and a note if there are others alone.

    language: its two-letter code; None is any.
    """
    if language is None or not tracks:
        return tuple(tracks), ()
    for wanted in (language, None):
        if found := tuple(track for track in tracks if track.language == wanted):
            return found, ()
    names = ", ".join(track.name for track in tracks)
    return (), (f"the video has no subtitles in {language}, only {names}: none were read",)


def language_of_label(label: str) -> str | None:
    """The language that a part of a file's name stands for; None for a word that happens to have three letters."""
    code = language_code(label)
    return code if code in LANGUAGES or (code and len(code) == 2 and code not in MARKS) else None


def choose_subtitles(tracks: Sequence[SubtitleTrack], text: str) -> tuple[SubtitleTrack | None, tuple[str, ...]]:
    """The first subtitles in a text's script, else the first of all, and a note where there were others to read.

    tracks: in the order in which they are preferred. text: as a question.
    """
    if len(tracks) < 2:
        return next(iter(tracks), None), ()
    written_in = script(text)
    chosen = next((track for track in tracks if track.script == written_in), tracks[0])
    names = ", ".join(track.name for track in tracks)
    return chosen, (f"of the subtitles {names}, {chosen.name} was read: --subtitle-language chooses another",)
