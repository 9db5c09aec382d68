"""Search a video for moments by its frames' embeddings and its subtitles.

No MLLM is needed if the encoder stands alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videox2l.answering.moments import ScoredFrames
from videox2l.checks import check_number, check_text
from videox2l.errors import SettingsError
from videox2l.models.base import MLLM, FrameLimits
from videox2l.models.bundled import BUNDLED
from videox2l.models.checkpoint import Checkpoint, download
from videox2l.models.load import DTYPES, check_dtype, load_model, pick_device
from videox2l.oracles.contrastive import frame_scores
from videox2l.oracles.subtitles import cue_moments, cue_shares
from videox2l.store import Store
from videox2l.tracks.contrastive_head import ContrastiveHead
from videox2l.tracks.dual_encoder import DualEncoder, HubDualEncoder
from videox2l.tracks.embeddings import Embeddings
from videox2l.tracks.subtitles import SubtitleTrack, choose_subtitles, find_subtitles, in_language, read_subtitles
from videox2l.tracks.track import make_track, read_track
from videox2l.types import FrameScores, Moment, VideoSpec
from videox2l.video import Sampling, Video, open_video

CHUNK_FRAMES = 16
"""How many frames are read together."""


@dataclass(frozen=True)
class Found:
    """What a search found.

    moments: the best first; none if nothing stands out. video_name, duration_s: of the video, in seconds. notes: what
    the user should know of the video and the text.
    """

    moments: tuple[Moment, ...]
    video_name: str
    duration_s: float
    notes: tuple[str, ...]


def find_moments(
    video: Any,
    text: str,
    encoder: DualEncoder | None,
    store: Store,
    sampling: Sampling | None = None,
    k: int = 5,
    model: MLLM | None = None,
    subtitles: Sequence[SubtitleTrack] | None = None,
    progress: Callable[[int, int], None] = lambda frames, total: None,
) -> Found:
    """The moments of a video that show or say what a text names, to the second.

    video: as `open_video` takes it. text: as "orange heart", or a question. encoder: embeds frames and text; None
    searches the subtitles alone. store: where what is made of the video is kept. sampling: which frames; by default one
    a second. k: how many moments at most. model: the MLLM whose visual tokens are embedded, for an encoder that needs
    them. subtitles: what is said; None, the default, finds those beside the video and in it. progress: called with the
    frames that are embedded and their total, unless the store has them all.
    Raises: VideoError, SettingsError, QuestionError, StoreError.
    """
    if encoder is not None and encoder.needs_tokens and model is None:
        raise SettingsError("this encoder embeds a model's visual tokens: pass the model, or a CLIP or SigLIP encoder")
    check_text(text)
    check_number(k, 1, "k", "moments")
    source = open_video(video, sampling or Sampling())
    spec = source.spec((CHUNK_FRAMES if model is None else model.chunk_frames,))
    notes: tuple[str, ...] = ()
    if subtitles is None:
        subtitles, notes = find_subtitles(source, store)
    frames = None
    if encoder is not None:
        track = Embeddings(encoder)
        make_track(track, source, spec, store, model, lambda frames: progress(frames, source.planned_frames))
        frames = frame_scores(encoder, text, *read_track(store, track, spec))
    chosen, others = choose_subtitles(subtitles, text)
    moments = find_in(text, frames, chosen, spec, k)
    unknown = [] if model is None else model.unknown_words(text)
    if model is not None and unknown:
        others = (*others, f"{model.name} does not know: {', '.join(unknown)}")
    return Found(moments, source.name, source.duration_s, (*source.notes, *notes, *others))


def subtitles_to_search(
    video: Video, store: Store, file: Path | None = None, language: str | None = None
) -> tuple[tuple[SubtitleTrack, ...], tuple[str, ...]]:
    """A video's subtitles, and what the user should know of them.

    store: where they are kept. file: to read in place of those beside the video and in it; None reads these.
    language: the two-letter code of the one that is wanted; None is any.
    Raises: SettingsError if the file can't be read or has no cue within the video.
    """
    if file is not None:
        source = read_subtitles(file, video.duration_s)
        return source.tracks, source.notes
    tracks, notes = find_subtitles(video, store)
    wanted, others = in_language(tracks, language)
    return wanted, (*notes, *others)


def load_encoder(
    encoder: str | Path | None = None,
    model: str | Path = "nano",
    *,
    device: str = "auto",
    dtype: str = "auto",
    max_pixels: int | None = None,
    is_needed: bool = True,
) -> tuple[DualEncoder | None, MLLM | None]:
    """What to search with: an encoder that stands alone, or else the one that a checkpoint brings, and its model.

    encoder: a CLIP or SigLIP hub id or directory. model: loaded only where there is no encoder.
    device, dtype, max_pixels: see `load_model`; an encoder that stands alone runs in fp32 by default.
    is_needed: whether there is nothing else to search with; True by default. If there is, None and no model stand for
        an encoder that the checkpoint does not bring.
    Raises: ModelError; SettingsError if an encoder is needed and the checkpoint brings none.
    """
    check_dtype(dtype)
    place = pick_device(device)
    FrameLimits(max_pixels)
    if encoder is not None:
        return HubDualEncoder(encoder, place, DTYPES["float32" if dtype == "auto" else dtype]), None
    checkpoint = Checkpoint.find(BUNDLED.get(str(model), model))
    directory = checkpoint.directory
    if checkpoint.is_on_hub:
        directory = download(checkpoint.name, directory.name, [f"{ContrastiveHead.FOLDER}/*"])
    if not (directory / ContrastiveHead.FOLDER).is_dir():  # known before all of the checkpoint is downloaded
        if not is_needed:
            return None, None
        raise SettingsError(
            f"{model} brings no encoder to search with: pass --encoder with a CLIP or SigLIP hub id or directory"
        )
    mllm = load_model(model, device, dtype, max_pixels=max_pixels)
    head = ContrastiveHead.of(mllm)
    assert head is not None
    return head, mllm


def find_in(
    text: str, frames: FrameScores | None, subtitles: SubtitleTrack | None, video: VideoSpec, k: int
) -> tuple[Moment, ...]:
    """The k best moments that frames show or subtitles say, the surest first; of two that overlap, the surer one.

    text: what is looked for. frames: their scores for it. subtitles: those to look in. video: the part that was
    sampled. k: how many moments at most.
    """
    moments: list[Moment] = []
    if frames is not None:
        moments += ScoredFrames(frames, video.end_s).found(k)
    if subtitles is not None:
        moments += (
            moment
            for moment in cue_moments(subtitles.cues, cue_shares(subtitles, text))
            if moment.start_s < video.end_s and moment.end_s > video.times_s[0]
        )
    found: list[Moment] = []
    for moment in sorted(moments, key=lambda moment: -(moment.confidence or 0)):
        if all(moment.end_s <= other.start_s or other.end_s <= moment.start_s for other in found):
            found.append(moment)
    return tuple(found[:k])
