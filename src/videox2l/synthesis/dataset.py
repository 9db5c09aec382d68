"""Needle videos as a data set: mp4 files and questions.jsonl in VNBench's fields (VideoNIAH, arXiv 2406.09367)."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from videox2l.errors import SettingsError, StoreError
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings, NeedleVideo

TRIES = 4
QUESTIONS, SETTINGS = "questions.jsonl", "settings.json"


@dataclass(frozen=True)
class SynthesisProgress:
    """How far the synthesis is: videos finished, of how many, and frames of the one in work."""

    videos: int
    total_videos: int
    frames: int
    total_frames: int


@dataclass(frozen=True)
class SynthesisReport:
    """What was made. made, kept: videos rendered now and found finished. questions: each asked in four tries."""

    directory: Path
    made: int
    kept: int
    questions: int
    notes: tuple[str, ...]


def synthesise(
    out: str | Path,
    videos: int,
    settings: NeedleSettings | None = None,
    progress: Callable[[SynthesisProgress], None] = lambda _: None,
) -> SynthesisReport:
    """Write needle videos and the questions about them into a directory.

    videos: how many. settings: what they are made of. Interrupted, it leaves finished videos and their questions, and
    the next run with the same settings goes on; the files are then the same as those of one uninterrupted run.
    Raises: SettingsError for what can't be made, or if the directory holds videos of other settings; VideoError for a
    haystack that can't be read; StoreError if the directory can't be written.
    """
    if videos < 1:
        raise SettingsError(f"videos={videos} is too few: pass 1 or more")
    settings = settings or NeedleSettings()
    plan, directory = NeedlePlan(settings), Path(out)
    total_frames = settings.format.frames(settings.duration_s)
    made = asked = 0

    def show(finished: int, frames: int) -> None:
        progress(SynthesisProgress(finished, videos, frames, total_frames))

    try:
        directory.mkdir(parents=True, exist_ok=True)
        claim(directory, plan)
        with open(directory / QUESTIONS, "w", encoding="utf-8") as lines:
            for number in range(videos):
                video = plan.video(number)
                if not (directory / video.name).is_file():
                    video.write(directory / video.name, settings.format, partial(show, number))
                    made += 1
                lines.writelines(json.dumps(entry) + "\n" for entry in vnbench_entries(video, settings))
                lines.flush()
                asked += len(video.questions)
                show(number + 1, 0)
    except OSError as error:
        raise StoreError(f"can't write to {directory} ({error.strerror}): choose another place") from error
    return SynthesisReport(directory, made, videos - made, asked, plan.notes)


def claim(directory: Path, plan: NeedlePlan) -> None:
    """Note the settings in a directory, so that no other settings go on in it.

    Raises: SettingsError that names the first setting that differs from those of the videos already there.
    """
    about: dict[str, Any] = json.loads(json.dumps(asdict(plan.settings), default=str))
    about["haystacks"] = [footage.fingerprint for footage in plan.footage]
    file = directory / SETTINGS
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        part = file.with_name(file.name + ".part")
        part.write_text(json.dumps(about, indent=2) + "\n")
        os.replace(part, file)
        return
    except ValueError as error:
        raise SettingsError(f"{file} is damaged ({error}): choose an empty directory") from error
    for name, value in about.items():
        if found.get(name) != value:
            raise SettingsError(
                f"{directory} holds videos made with {name}={found.get(name)}, and {value} was asked for: choose "
                "another directory, or the settings of the first run"
            )


def vnbench_entries(video: NeedleVideo, settings: NeedleSettings) -> Iterator[dict[str, Any]]:
    """A video's questions in VNBench's fields, four tries each with the options in another order.

    needle_time: seconds at which the needles appear. type: the task. The answer stands at every letter once, or at
    each of two letters twice.
    """
    for number, question in enumerate(video.questions):
        rng = random.Random(f"options {settings.seed} {video.number} {number}")
        options = list(question.options)
        rng.shuffle(options)
        for attempt in range(TRIES):
            turn = attempt % len(options)
            shown = options[turn:] + options[:turn]
            yield {
                "video": video.name,
                "question": question.text,
                "options": shown,
                "needle_time": list(question.needle_times_s),
                "gt": question.answer,
                "gt_option": "ABCDEFGH"[shown.index(question.answer)],
                "length": round(video.script.duration_s, 3),
                "type": question.task,
                "try": attempt,
            }
