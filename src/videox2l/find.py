"""Search a video for moments by its frames' embeddings; no MLLM is needed if the encoder stands alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from videox2l.answering.moments import ScoredFrames
from videox2l.checks import check_number, check_text
from videox2l.errors import SettingsError
from videox2l.models.base import MLLM, FrameLimits
from videox2l.models.bundled import BUNDLED
from videox2l.models.checkpoint import Checkpoint, download
from videox2l.models.load import DTYPES, check_dtype, load_model, pick_device
from videox2l.oracles.contrastive import frame_scores
from videox2l.store import Store
from videox2l.tracks.contrastive_head import ContrastiveHead
from videox2l.tracks.dual_encoder import DualEncoder, HubDualEncoder
from videox2l.tracks.embeddings import Embeddings
from videox2l.tracks.track import make_track, read_track
from videox2l.types import Moment
from videox2l.video import Sampling, open_video

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
    encoder: DualEncoder,
    store: Store,
    sampling: Sampling | None = None,
    k: int = 5,
    model: MLLM | None = None,
    progress: Callable[[int, int], None] = lambda frames, total: None,
) -> Found:
    """The moments of a video that show what a text names, to the second.

    video: as `open_video` takes it. text: as "orange heart", or a question. encoder: embeds frames and text. store:
    where the frames' embeddings are kept. sampling: which frames; by default one a second. k: how many moments at
    most. model: the MLLM whose visual tokens are embedded, for an encoder that needs them. progress: called with the
    frames that are embedded and their total, unless the store has them all.
    Raises: VideoError, SettingsError, QuestionError, StoreError.
    """
    if encoder.needs_tokens and model is None:
        raise SettingsError("this encoder embeds a model's visual tokens: pass the model, or a CLIP or SigLIP encoder")
    check_text(text)
    check_number(k, 1, "k", "moments")
    source = open_video(video, sampling or Sampling())
    spec = source.spec((CHUNK_FRAMES if model is None else model.chunk_frames,))
    track = Embeddings(encoder)
    make_track(track, source, spec, store, model, lambda frames: progress(frames, source.planned_frames))
    moments = find_in(encoder, text, read_track(store, track, spec), spec.end_s, k)
    unknown = [] if model is None else model.unknown_words(text)
    notes = (f"{model.name} does not know: {', '.join(unknown)}",) if model is not None and unknown else ()
    return Found(moments, source.name, source.duration_s, (*source.notes, *notes))


def load_encoder(
    encoder: str | Path | None = None,
    model: str | Path = "nano",
    *,
    device: str = "auto",
    dtype: str = "auto",
    max_pixels: int | None = None,
) -> tuple[DualEncoder, MLLM | None]:
    """What to search with: an encoder that stands alone, or else the one that a checkpoint brings, and its model.

    encoder: a CLIP or SigLIP hub id or directory. model: loaded only where there is no encoder.
    device, dtype, max_pixels: see `load_model`; an encoder that stands alone runs in fp32 by default.
    Raises: ModelError; SettingsError if there is no encoder and the checkpoint brings none.
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
        raise SettingsError(
            f"{model} brings no encoder to search with: pass --encoder with a CLIP or SigLIP hub id or directory"
        )
    mllm = load_model(model, device, dtype, max_pixels=max_pixels)
    head = ContrastiveHead.of(mllm)
    assert head is not None
    return head, mllm


def find_in(encoder: DualEncoder, text: str, track: Sequence[Tensor], end_s: float, k: int) -> tuple[Moment, ...]:
    """The k best moments by an encoder's embeddings and their times, the `track` of a video that ends at a second.

    Raises: QuestionError if there is no text; SettingsError for no moments.
    """
    check_text(text)
    check_number(k, 1, "k", "moments")
    embeddings, time_s = track
    return ScoredFrames(frame_scores(encoder, text, embeddings, time_s), end_s).found(k)
