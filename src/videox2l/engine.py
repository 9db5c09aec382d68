"""Video-X2L: index a video once, then score, select, re-load and decode for every question (arXiv 2506.21184)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch

from videox2l.answering.answer import Answer
from videox2l.answering.generation import Generation
from videox2l.answering.stream import AnswerStream, Clock
from videox2l.compression.base import Compressor
from videox2l.compression.registry import compressor_for
from videox2l.errors import QuestionError, SettingsError
from videox2l.index.builder import IndexProgress, build_index, open_index
from videox2l.index.reload import load_cache
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM, Turn
from videox2l.models.load import load_model
from videox2l.oracles.registry import Oracle, OracleSettings, make_oracle
from videox2l.selection.top_k import select_top_k
from videox2l.store import Store, open_store
from videox2l.tracks.contrastive_head import ContrastiveHead
from videox2l.tracks.dual_encoder import DualEncoder, HubDualEncoder
from videox2l.types import Selection
from videox2l.video import Sampling, open_video

INDEX_FORMAT = 2
"""Part of every index's key: raised when what is stored changes."""


@dataclass
class VideoX2L:
    """A multimodal LLM that answers questions about long videos from KVs compressed at several levels.

    compressor: levels and how they are made; by default the way the model was published with, else `keydiff`.
    chunk_frames: frames in a chunk, or the first chunks' sizes one by one, the last one repeated; by default the
    model's own. oracle: by name, or one of your own. encoder: the dual encoder that embeds frames for the contrastive
    oracle. k: chunks re-loaded at the finest level. moments: what the manual oracle selects. seed: of the random
    oracle. smoothing: width in chunks over which an oracle's scores are smoothed. store: where indexes are kept.
    """

    model: MLLM
    compressor: Compressor = None  # type: ignore[assignment]  # until __post_init__
    chunk_frames: int | tuple[int, ...] = None  # type: ignore[assignment]  # until __post_init__
    oracle: str | Oracle = "attention"
    encoder: DualEncoder | None = None
    k: int = 3
    moments: str = ""
    seed: int = 0
    smoothing: float = 0.0
    store: Store = field(default_factory=lambda: open_store("ram"))

    def __post_init__(self) -> None:
        if self.chunk_frames is None:
            self.chunk_frames = self.model.chunk_frames
        sizes = (self.chunk_frames,) if isinstance(self.chunk_frames, int) else self.chunk_frames
        if not sizes or min(sizes) < 1:
            raise SettingsError(f"chunk_frames={self.chunk_frames} is not a number of frames: pass 1 or more")
        group = self.model.frame_group
        if any(size % group for size in sizes):
            raise SettingsError(
                f"chunk_frames={self.chunk_frames} cuts through the groups of {group} frames that {self.model.name} "
                f"reads together: pass a multiple of {group}"
            )
        if self.k < 0:
            raise SettingsError(f"k={self.k} is negative: pass how many chunks to re-load in full detail")
        self.compressor = self.compressor or compressor_for(self.model)
        if isinstance(self.oracle, str):
            self._oracle(self.oracle, self.k)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "nano",
        *,
        device: str = "auto",
        dtype: str = "auto",
        encoder: str | Path | DualEncoder | None = None,
        oracle: str | Oracle | None = None,
        compressor: str | Compressor | None = None,
        compression: Mapping[str, Any] | None = None,
        store: str | Path | Store = "ram",
        **settings: Any,
    ) -> Self:
        """Load a model by hub id, directory, or "nano" for the bundled one.

        encoder: a CLIP or SigLIP hub id or directory; by default the one the checkpoint brings, if it does.
        oracle: by default "contrastive" where there is an encoder, else "attention". compressor: by name, or one of
        your own; compression: the settings of one by name, or of the default one. store: "ram", "disk" (the cache
        directory), or a directory. settings: further fields of this class.
        Raises: ModelError, SettingsError.
        """
        mllm = load_model(model, device, dtype)
        if isinstance(encoder, str | Path):
            encoder = HubDualEncoder(encoder, mllm.device, mllm.dtype)
        encoder = encoder or ContrastiveHead.of(mllm)
        oracle = oracle or ("contrastive" if encoder else "attention")
        if compressor is None or isinstance(compressor, str):
            compressor = compressor_for(mllm, compressor, **(compression or {}))
        return cls(mllm, compressor, encoder=encoder, oracle=oracle, store=open_store(store), **settings)

    def index(
        self,
        video: Any,
        sampling: Sampling | None = None,
        progress: Callable[[IndexProgress], None] = lambda _: None,
    ) -> VideoIndex:
        """Compress a video at every level, or open what the store has of it.

        video: a path, a folder of images, an open binary file, or a FrameArray. sampling: which frames; by default one
        a second. An interrupted run leaves finished chunks in the store, and the next goes on from there.
        Raises: VideoError, SettingsError, StoreError.
        """
        source = open_video(video, sampling or Sampling())
        key = self._key(source.fingerprint(), sampling or Sampling())
        shelf = self.store.shelf(key)
        return open_index(key, shelf) or build_index(
            key, shelf, source, self.chunk_frames, self.model, self.compressor, self.encoder, progress
        )

    def ask(self, index: VideoIndex, question: str, **settings: Any) -> Answer:
        """Answer a question about an indexed video; see `stream` for the settings."""
        return self.stream(index, question, **settings).answer

    def stream(
        self,
        index: VideoIndex,
        question: str,
        *,
        oracle: str | Oracle | None = None,
        k: int | None = None,
        generation: Generation | None = None,
        history: tuple[Turn, ...] = (),
        finished: Callable[[Answer], None] = lambda _: None,
    ) -> AnswerStream:
        """Answer a question piece by piece: iterate over the text, then read `.answer`.

        oracle, k: instead of this engine's. history: earlier turns, which stay in the context. finished: called once
        with the finished answer.
        Raises: QuestionError if the question is empty or too long; SettingsError.
        """
        check_question(question)
        clock = Clock({"index": index.seconds})
        ids = self.model.question_ids(question, history)
        self._check_length(len(ids), len(index.prompt))
        with clock("relevance"), torch.no_grad():
            selection = self._select(index, question, oracle, self.k if k is None else k)
        generation = generation or Generation()
        self._check_length(len(ids), index.tokens(selection.levels))
        with clock("load"), torch.no_grad():
            cache = load_cache(
                self.model,
                index,
                selection.levels,
                self.compressor.positions,
                room=len(ids) + generation.max_new_tokens,
            )
        return AnswerStream(self.model, index, question, selection, cache, ids, generation, clock, finished)

    def chat(self, index: VideoIndex) -> Chat:
        """A conversation about an indexed video."""
        return Chat(self, index)

    def _select(self, index: VideoIndex, question: str, oracle: str | Oracle | None, k: int) -> Selection:
        chosen = oracle or self.oracle
        chosen = self._oracle(chosen, k) if isinstance(chosen, str) else chosen
        scores = chosen.score(self.model, index, question)
        selection = select_top_k(scores, index, None if chosen.decides else k)
        return replace(selection, notes=chosen.notes(question))

    def _oracle(self, name: str, k: int) -> Oracle:
        return make_oracle(name, OracleSettings(k, self.seed, self.moments, self.encoder, self.smoothing))

    def _check_length(self, question_tokens: int, cache_tokens: int) -> None:
        limit = self.model.max_positions
        room = limit - cache_tokens if cache_tokens < limit else limit
        if question_tokens >= room:
            raise QuestionError(
                f"the question has {question_tokens} tokens and {self.model.name} has room for {room - 1} behind this "
                "video: shorten it"
            )

    def _key(self, content: str, sampling: Sampling) -> str:
        about = {
            "format": INDEX_FORMAT,
            "content": content,
            "sampling": asdict(sampling),
            "chunk_frames": self.chunk_frames,
            "model": self.model.fingerprint,
            "dtype": str(self.model.dtype),
            "compressor": repr(self.compressor),
            "encoder": self.encoder.fingerprint if self.encoder else None,
        }
        return hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()


def check_question(question: str) -> None:
    """Raises: QuestionError if there is nothing asked."""
    if not question.strip():
        raise QuestionError("the question is empty: ask something about the video")


class Chat:
    """A conversation about one video: earlier turns stay in the context, every turn selects chunks anew."""

    def __init__(self, engine: VideoX2L, index: VideoIndex):
        self.engine, self.index = engine, index
        self.turns: list[Turn] = []

    def ask(self, question: str, **settings: Any) -> Answer:
        """Ask the next question; settings as for `VideoX2L.stream`."""
        return self.stream(question, **settings).answer

    def stream(self, question: str, **settings: Any) -> AnswerStream:
        """Ask the next question and iterate over the answer's text; the turn counts once it is finished."""
        return self.engine.stream(self.index, question, history=tuple(self.turns), finished=self._remember, **settings)

    def _remember(self, answer: Answer) -> None:
        self.turns.append(Turn(answer.question, answer.text))
