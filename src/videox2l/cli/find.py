"""`videox2l find`."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videox2l.checks import check_text
from videox2l.cli.option_groups import with_options
from videox2l.cli.options import (
    Json,
    ModelOptions,
    NoSubtitles,
    SamplingOptions,
    SubtitleFile,
    SubtitleLanguage,
    VideoArgument,
    check_subtitles,
    path_for,
)
from videox2l.cli.output import check_folder, check_picture, print_error, print_json, print_moments
from videox2l.cli.progress import interruptible, progress
from videox2l.errors import SettingsError, StoreError, VideoX2LError
from videox2l.times import clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from videox2l.types import Moment
    from videox2l.video import Video
    from videox2l.video.clips import Clip

NANO_NOTICE = (
    "Searching with nano, a small bundled model that only knows the needle videos of `videox2l demo`. "
    "For real footage pass --encoder, for example openai/clip-vit-base-patch32."
)


@with_options(sampling_options=SamplingOptions, model_options=ModelOptions)
def find(
    video: VideoArgument,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", show_default=False, help='What to look for, for example "orange heart".')
    ],
    sampling_options: SamplingOptions,
    model_options: ModelOptions,
    k: Annotated[
        int, typer.Option("--k", metavar="N", show_default=False, help="Show at most N moments. Default: 5.")
    ] = 5,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=path_for("--plot"), help="Save a picture of the moments (.png, .pdf or .svg)."
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=path_for("--clips"), help="Cut the moments out of the video, a file each."),
    ] = None,
    subtitles: SubtitleFile = None,
    no_subtitles: NoSubtitles = False,
    subtitle_language: SubtitleLanguage = None,
    as_json: Json = False,
) -> None:
    """Find the moments of a video that show or say something, the best first.

    With --encoder no other model is loaded. Where there are subtitles they are searched too.
    """
    check_text(text)
    if k < 1:
        raise SettingsError(f"--k {k} is not a number of moments: pass 1 or more")
    if plot is not None:
        check_picture(plot)
    if clips is not None:
        check_clips(clips)
    check_subtitles(subtitles, no_subtitles)
    source = sampling_options.open(video)

    from videox2l.find import find_moments, load_encoder, subtitles_to_search
    from videox2l.store import open_store
    from videox2l.version import __version__

    store = open_store(model_options.store)
    tracks, notes = ((), ()) if no_subtitles else subtitles_to_search(source, store, subtitles, subtitle_language)
    encoder, model = load_encoder(
        model_options.encoder,
        "nano" if model_options.model is None else model_options.model,
        device=model_options.device,
        dtype=model_options.dtype,
        max_pixels=model_options.max_pixels,
        is_needed=not tracks,
    )
    names_a_model = (model_options.encoder or model_options.model) is not None
    with interruptible("the same command starts again"), progress("searching", "frames") as show:

        def tell(frames: int, total: int) -> None:
            if frames == 0 and not names_a_model:
                typer.echo(NANO_NOTICE, err=True)
            show(frames, total, "")

        found = find_moments(source, text, encoder, store, k=k, model=model, subtitles=tracks, progress=tell)
    for note in (*notes, *found.notes):
        typer.echo(f"note: {note}", err=True)
    if not as_json:
        print_moments(found.moments)
    if not found.moments and (clips or plot):
        typer.echo("nothing to save", err=True)
    cut: list[Clip] = []
    failed = False
    try:
        if clips is not None and found.moments:
            for clip in cut_clips(source, text, found.moments, clips):
                cut.append(clip)
        if plot is not None and found.moments:
            save_pictures(source, text, found.moments, plot)
    except VideoX2LError as error:
        print_error(error)
        failed = True
    finally:  # what was found is not lost with a file that can't be written
        if as_json:
            print_json(
                {
                    "text": text,
                    "moments": [asdict(moment) for moment in found.moments],
                    "clips": [clip.to_json() for clip in cut],
                    "video": found.video_name,
                    "duration_s": round(found.duration_s, 3),
                    "k": k,
                    "notes": [*notes, *found.notes],
                    "version": __version__,
                }
            )
    if failed:
        raise typer.Exit(2)


def check_clips(folder: Path) -> None:
    """Refuse early a folder that clips can't be written to. Raises: SettingsError."""
    if folder.exists():
        check_folder(folder, "can't save clips")
    else:
        check_folder(next(parent for parent in folder.absolute().parents if parent.exists()), "can't save clips")


def cut_clips(video: Video, text: str, moments: Sequence[Moment], folder: Path) -> Iterator[Clip]:
    """Cut moments out of a video one by one, and say on stderr what was written. Raises: StoreError, VideoError."""
    from videox2l.video.clips import cut_clip

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"can't make the folder {folder} ({error.strerror}): choose another place") from error
    name = re.sub(r"\W+", "-", text).strip("-")[:40] or "moment"
    for number, moment in enumerate(moments, 1):
        at = clock(moment.start_s).replace(":", "m", 1) + "s"
        clip = cut_clip(video, moment.start_s, moment.end_s, folder / f"{name}-{number}-{at}")
        how = "copied" if clip.is_copied else "encoded anew"
        typer.echo(f"saved {clip.file}, {clip.end_s - clip.start_s:.1f} s, {how}", err=True)
        for note in clip.notes:
            typer.echo(f"note: {note}", err=True)
        yield clip


def save_pictures(video: Video, text: str, moments: Sequence[Moment], file: Path) -> None:
    """Save a picture of the moments. Raises: SettingsError, StoreError."""
    from videox2l.answering.contact_sheet import draw_moments
    from videox2l.answering.timeline import best_s, save_figure

    shown = {moment: next(iter(video.frames_between(best_s(moment), best_s(moment))), None) for moment in moments}
    pictures = {moment: frame[1].numpy() for moment, frame in shown.items() if frame is not None}
    if pictures:
        save_figure(draw_moments(f"{text}, in {video.name}", [*pictures], [*pictures.values()]), file)
        typer.echo(f"saved {file}", err=True)
