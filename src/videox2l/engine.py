"""Video-X2L: index a video once, then score, select, re-load and decode for every question (arXiv 2506.21184)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch

from videox2l.answering.answer import Answer
from videox2l.answering.generation import Generation
from videox2l.answering.prompt_subtitles import cues_for_prompt, question_with
from videox2l.answering.second_look import look_twice
from videox2l.answering.stream import AnswerStream, Clock, load_selection
from videox2l.checks import check_kind, check_number, check_question, check_text
from videox2l.compression.base import Compressor
from videox2l.compression.registry import compressor_for, refuse_kvs
from videox2l.errors import QuestionError, SettingsError
from videox2l.find import find_in
from videox2l.index.builder import IndexProgress, index_video
from videox2l.index.spec import IndexSpec
from videox2l.index.video_index import VideoIndex
from videox2l.levels import level_list
from videox2l.models.base import MLLM, Turn
from videox2l.models.load import load_model, wrap_model
from videox2l.oracles.base import Oracle
from videox2l.oracles.cascade import Cascade
from videox2l.oracles.contrastive import frame_scores
from videox2l.oracles.registry import ORACLES, make_oracle
from videox2l.oracles.subtitles import SubtitleOracle
from videox2l.oracles.time import TimeOracle
from videox2l.selection.base import Selector
from videox2l.selection.registry import SELECTORS, make_selector
from videox2l.store import Store, open_store
from videox2l.tracks.contrastive_head import ContrastiveHead
from videox2l.tracks.dual_encoder import DualEncoder, HubDualEncoder, find_encoder
from videox2l.tracks.embeddings import Embeddings
from videox2l.tracks.languages import known_language
from videox2l.tracks.subtitles import choose_subtitles, find_subtitles, in_language
from videox2l.tracks.thumbnails import Thumbnails
from videox2l.tracks.track import Track
from videox2l.types import Cue, Moment, Selection
from videox2l.video import Sampling, open_video


@dataclass(repr=False)
class VideoX2L:
    """A multimodal LLM that answers questions about long videos from KVs compressed at several levels.

    model: an adapter's model, or a transformers model in memory, which then needs its `processor` (see `wrap_model`).
    compressor: levels and how they are made; by default the way the model was published with, else `keydiff`.
    chunk_frames: frames in a chunk, or of the first chunks one by one, the last number repeated; by default the
        model's own.
    oracle: what scores the chunks, by name or made already; by default one that needs nothing but the model:
        "cascade", or "probe" for a model whose KVs can't be re-used. A middle level that it reads is kept too, where
        the compressor has none.
    selector: what chooses each chunk's level, by name with its defaults or made already, as `TopK(k=5)`; by default
        the 3 best chunks are read at the finest level. Of a model whose KVs can't be re-used, the others are left out.
    encoder: the dual encoder that embeds frames for the contrastive oracle; none by default.
    reads_times: whether times that a question names, as "at 1:23", come before the oracle's scores (see `TimeOracle`);
        they do by default.
    reads_subtitles: whether subtitles beside a video or in it are read, and a question's words among them come before
        the oracle's scores (see `SubtitleOracle`); they are by default.
    subtitle_language: the language of the subtitles that are read, as "en" or "German"; None, the default, takes the
        first in the question's script, else the first of all.
    subtitles_in_prompt: whether what is said around the selected moments stands before the question as text; not by
        default.
    second_look: whether an answer that the model is unsure how to begin is decoded anew, once, from a cache with four
        times the detail; it says what that cost. Off by default.
    store: where indexes are kept; the user's cache directory by default.
    processor: of a transformers model, as AutoProcessor gives it.
    Raises: SettingsError for settings that contradict each other; ModelError for a model that can't be driven.
    """

    model: MLLM
    compressor: Compressor = None  # type: ignore[assignment]  # until __post_init__
    chunk_frames: int | tuple[int, ...] = None  # type: ignore[assignment]  # until __post_init__
    oracle: str | Oracle = None  # type: ignore[assignment]  # until __post_init__
    selector: str | Selector = "top_k"
    encoder: DualEncoder | None = None
    reads_times: bool = True
    reads_subtitles: bool = True
    subtitle_language: str | None = None
    subtitles_in_prompt: bool = False
    second_look: bool = False
    store: Store = field(default_factory=lambda: open_store("disk"))
    processor: InitVar[Any] = None

    def __post_init__(self, processor: Any) -> None:
        if not isinstance(self.model, MLLM):
            self.model = wrap_model(self.model, processor)
        if self.chunk_frames is None:
            self.chunk_frames = self.model.chunk_frames
        sizes = self._chunk_sizes
        if not sizes or min(sizes) < 1:
            raise SettingsError(f"chunk_frames={self.chunk_frames} is not a number of frames: pass 1 or more")
        group = self.model.frame_group
        if any(size % group for size in sizes):
            raise SettingsError(
                f"chunk_frames={self.chunk_frames} cuts through the groups of {group} frames that {self.model.name} "
                f"reads together: pass a multiple of {group}"
            )
        if self.subtitle_language is not None:
            self.subtitle_language = known_language(self.subtitle_language)
        self.compressor = self.compressor or compressor_for(self.model)
        if self.compressor.makes_kvs and not self.model.reuses_kvs:
            refuse_kvs(self.model)
        self.oracle = self.oracle or self.model.oracle
        oracle = make_oracle(self.oracle, encoder=self.encoder)
        if not self.model.reuses_kvs:
            self.selector = self._fitted(self.selector)
        selector = make_selector(self.selector)
        selector.check(self.compressor.levels, oracle.levels)
        if self.second_look and not selector.needs_scores:
            raise SettingsError(
                f"a second look needs scores, and the selector {SELECTORS.name(selector)} reads none: leave one out"
            )

    def __repr__(self) -> str:
        levels = level_list(self.compressor.levels)
        oracle = ORACLES.name(make_oracle(self.oracle, encoder=self.encoder))
        selector = SELECTORS.name(make_selector(self.selector))
        return f"VideoX2L({self.model.name}, {self.model.device}, levels {levels}, oracle {oracle}, {selector})"

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "nano",
        *,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        device_map: str | int | Mapping[str, Any] | None = None,
        quantization_config: Any = None,
        max_pixels: int | None = None,
        min_pixels: int | None = None,
        encoder: str | Path | DualEncoder | None = None,
        oracle: str | Oracle | None = None,
        compressor: str | Compressor | None = None,
        compression: Mapping[str, Any] | None = None,
        store: str | Path | Store = "disk",
        **settings: Any,
    ) -> Self:
        """Load a model by hub id, directory, or "nano" for the bundled one.

        device, dtype, revision, device_map, quantization_config, max_pixels, min_pixels: see `load_model`.
        encoder: a CLIP or SigLIP hub id or directory, or the directory of a contrastive head trained for the model; by
            default the one the checkpoint brings, if it does.
        oracle: by default "contrastive" where there is an encoder, else the class's default.
        compressor: by name, or one made already.
        compression: settings of a compressor by name, or of the default one.
        store: "disk", the user's cache directory; "ram"; or a directory.
        settings: further fields of this class.
        Raises: ModelError, SettingsError.
        """
        store = open_store(store)  # what can be refused before a model is loaded
        if isinstance(encoder, str | Path):
            if not ContrastiveHead.is_at(encoder):
                find_encoder(encoder)
        elif encoder is not None:
            check_kind(encoder, DualEncoder, "encoder", "a CLIP or SigLIP hub id or directory, or a DualEncoder")
        mllm = load_model(
            model,
            device,
            dtype,
            revision=revision,
            device_map=device_map,
            quantization_config=quantization_config,
            max_pixels=max_pixels,
            min_pixels=min_pixels,
        )
        if isinstance(encoder, str | Path):
            encoder = (
                ContrastiveHead.from_directory(Path(encoder), mllm)
                if ContrastiveHead.is_at(encoder)
                else HubDualEncoder(encoder, mllm.device, mllm.dtype)
            )
        encoder = encoder or ContrastiveHead.of(mllm)
        oracle = oracle or ("contrastive" if encoder else mllm.oracle)
        if compressor is None or isinstance(compressor, str):
            compressor = compressor_for(mllm, compressor, **(compression or {}))
        return cls(mllm, compressor, encoder=encoder, oracle=oracle, store=store, **settings)

    def index(
        self,
        video: Any,
        sampling: Sampling | None = None,
        progress: Callable[[IndexProgress], None] = lambda _: None,
        oracle: str | Oracle | None = None,
    ) -> VideoIndex:
        """Compress a video at every level, or open what the store has of it.

        video: a path, a folder of images, an open binary file, or a FrameArray. sampling: which frames; by default one
        a second. An interrupted run leaves finished chunks in the store, and the next goes on from there. Subtitles
        beside the video or in it come with the index, also with one that was made before there were any.
        oracle: what will be asked with, instead of this engine's; a middle level that it reads is kept too.
        Raises: VideoError, SettingsError, StoreError.
        """
        source = open_video(video, sampling or Sampling())
        frames = source.spec(self._chunk_sizes)
        read = make_oracle(oracle or self.oracle, encoder=self.encoder).levels
        compressor, richer = self._with_levels(read), self._with_levels((*read, *Cascade().levels))
        spec, richer_spec = (IndexSpec.of(frames, self.model, each) for each in (compressor, richer))
        index = index_video(source, spec, self.store, self.model, compressor, self._tracks, progress, richer_spec)
        if self.reads_subtitles:
            subtitles, notes = find_subtitles(source, self.store)
            index = replace(index, subtitles=subtitles, notes=(*index.notes, *notes))
        return self._with_own_subtitles(index)

    def ask(self, video: Any, question: str, **settings: Any) -> Answer:
        """Answer a question about a video; see `stream` for the arguments and errors."""
        return self.stream(video, question, **settings).answer

    def stream(
        self,
        video: Any,
        question: str,
        *,
        oracle: str | Oracle | None = None,
        selector: str | Selector | None = None,
        generation: Generation | None = None,
        history: tuple[Turn, ...] = (),
        finished: Callable[[Answer], None] = lambda _: None,
    ) -> AnswerStream:
        """Answer a question piece by piece: iterate over the text, then read `.answer`.

        video: an index, or a video as for `index`, which is then made or found in the store first.
        oracle, selector: instead of this engine's. history: earlier turns, which stay in the context; a model that was
        not trained on conversations is asked without them, and the answer says so. finished: called once with the
        finished answer.
        Raises: QuestionError if the question is empty or too long; SettingsError, also if another model made the index;
        for a video that has no index yet, what `index` raises.
        """
        check_question(question)
        generation = Generation() if generation is None else generation
        check_kind(generation, Generation, "generation", "for example Generation(max_new_tokens=64)")
        index = self._with_own_subtitles(self._indexed(video, oracle))
        index.spec.check_model(self.model)
        clock = Clock()
        alone = self._alone_notes if history else ()
        history = () if alone else history
        ids = self.model.question_ids(question, history)
        self._check_length(len(ids))
        selector = make_selector(selector or self.selector)
        with clock("relevance"), torch.no_grad():
            selection = self._select(index, question, oracle or self.oracle, selector)
        cues, cut = self._prompt_cues(index, question, selection, self.model.max_positions - len(ids))
        if cues:
            ids = self.model.question_ids(question_with(cues, question), history)
        room = len(ids) + min(generation.max_new_tokens, self.model.max_positions)  # a longer answer makes its own room
        first_look = None
        if self.second_look and selection.scores is not None:
            selection, cache, first_look = look_twice(
                model=self.model,
                index=index,
                selection=selection,
                widened=selector.widened,
                ids=ids,
                room=room,
                clock=clock,
            )
        else:
            cache = load_selection(self.model, index, selection, room, clock)
        context = self._context_notes(cache.next_position + len(ids))
        selection = replace(selection, notes=(*alone, *selection.notes, *cut, *context))
        return AnswerStream(
            model=self.model,
            index=index,
            question=question,
            cues=cues,
            selection=selection,
            cache=cache,
            ids=ids,
            generation=generation,
            clock=clock,
            finished=finished,
            first_look=first_look,
        )

    def chat(self, video: Any) -> Chat:
        """A conversation about a video, given as for `stream`."""
        return Chat(self, self._indexed(video))

    def find(self, video: Any, text: str, k: int = 5) -> tuple[Moment, ...]:
        """The moments of a video that show or say what a text names, to the second, the best first.

        video: as for `stream`. text: as "orange heart", or a question. k: how many moments at most.
        Raises: SettingsError if there is neither an encoder nor subtitles; QuestionError if there is no text; what
        `stream` raises.
        """
        check_text(text)
        check_number(k, 1, "k", "moments")
        index = self._with_own_subtitles(self._indexed(video))
        if self.encoder is None and not index.subtitles:
            raise SettingsError(
                "finding moments needs a dual encoder or subtitles: pass encoder= with a CLIP or SigLIP hub id"
            )
        frames = None
        if self.encoder is not None:
            frames = frame_scores(self.encoder, text, *index.embeddings(self.encoder))
        subtitles, _ = choose_subtitles(index.subtitles, text)
        return find_in(text, frames, subtitles, index.spec.video, k)

    def _indexed(self, video: Any, oracle: str | Oracle | None = None) -> VideoIndex:
        return video if isinstance(video, VideoIndex) else self.index(video, oracle=oracle)

    def _with_own_subtitles(self, index: VideoIndex) -> VideoIndex:
        """An index with no other subtitles than those that this engine reads."""
        if not self.reads_subtitles:
            return replace(index, subtitles=())
        subtitles, notes = in_language(index.subtitles, self.subtitle_language)
        return replace(index, subtitles=subtitles, notes=(*index.notes, *notes))

    def _prompt_cues(
        self, index: VideoIndex, question: str, selection: Selection, room: int
    ) -> tuple[tuple[Cue, ...], tuple[str, ...]]:
        """The cues that stand before the question, in a quarter of the room that it leaves, and notes on them."""
        subtitles, _ = choose_subtitles(index.subtitles, question)
        if not self.subtitles_in_prompt or subtitles is None:
            return (), ()
        moments = [(moment.start_s, moment.end_s) for moment in selection.named]
        moments += [(index.chunks[chunk].start_s, index.chunks[chunk].end_s) for chunk in selection.moments]
        if not moments:
            return (), ("no moment was chosen to be read in full detail, so no subtitles stand before the question",)
        tokenizer = self.model.tokenizer
        return cues_for_prompt(
            subtitles, moments, room // 4, lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
        )

    def _select(self, index: VideoIndex, question: str, oracle: str | Oracle, selector: str | Selector) -> Selection:
        oracle, selector = make_oracle(oracle, encoder=self.encoder), self._fitted(selector)
        if not selector.needs_scores:
            return replace(selector.choose(None, index), selector=SELECTORS.describe(selector))
        name = ORACLES.name(oracle)
        if index.subtitles and oracle.takes_subtitles:
            oracle = SubtitleOracle(oracle)
        if self.reads_times and oracle.takes_times:
            oracle = TimeOracle(oracle)
        scores = oracle.score(self.model, index, question)
        selection = selector.choose(scores, index)
        return replace(
            selection,
            notes=(*oracle.notes(index, question), *selection.notes),
            frames=scores.frames,
            named=scores.named,
            subtitles=scores.subtitles,
            oracle=name,
            selector=SELECTORS.describe(selector),
        )

    def _fitted(self, selector: str | Selector) -> Selector:
        """A selector, told to leave chunks out where there is no coarser level to read them at."""
        selector = make_selector(selector)
        if self.model.reuses_kvs or not hasattr(selector, "leaves_out"):
            return selector
        return replace(selector, leaves_out=True)  # type: ignore[call-arg]

    def _with_levels(self, read: Collection[int]) -> Compressor:
        """The compressor, with those of the levels an oracle reads that the same pass makes between its own two."""
        levels = self.compressor.levels
        if len(levels) != 2 or self.compressor.passes == "two_pass":
            return self.compressor
        middle = {level for level in read if levels[0] < level < levels[-1]}
        return replace(self.compressor, levels=tuple(sorted(middle.union(levels))))

    @property
    def _chunk_sizes(self) -> tuple[int, ...]:
        return (self.chunk_frames,) if isinstance(self.chunk_frames, int) else tuple(self.chunk_frames)

    @property
    def _tracks(self) -> tuple[Track, ...]:
        return (Thumbnails(), Embeddings(self.encoder)) if self.encoder else (Thumbnails(),)

    def _check_length(self, question_tokens: int) -> None:
        if question_tokens >= self.model.max_positions:
            raise QuestionError(
                f"the question and earlier turns have {question_tokens} tokens, and {self.model.name} was trained on "
                f"{self.model.max_positions} in all: shorten them"
            )

    @property
    def _alone_notes(self) -> tuple[str, ...]:
        """Says so where earlier turns are left out, for a model that was not trained on them."""
        if self.model.trained_on_conversations:
            return ()
        name = self.model.name
        return (f"{name} was not trained on conversations: every question is asked without the earlier turns",)

    def _context_notes(self, positions: int) -> tuple[str, ...]:
        """Says so where video and question reach beyond the positions that the model was trained on."""
        if positions <= self.model.max_positions:
            return ()
        return (
            f"video and question take {positions} positions and {self.model.name} was trained on "
            f"{self.model.max_positions}: the answer may be wrong; choose coarser levels or a part of the video",
        )


class Chat:
    """A conversation about one video: earlier turns stay in the context, every turn selects chunks anew.

    A model that was not trained on conversations is asked every question alone; the second answer says so in a note.
    """

    def __init__(self, engine: VideoX2L, index: VideoIndex):
        self.engine, self.index = engine, index
        self.turns: list[Turn] = []

    def __repr__(self) -> str:
        return f"Chat({self.index.video_name!r}, {self.engine.model.name}, {len(self.turns)} turns)"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before the first question."""
        return self.engine._alone_notes

    def ask(self, question: str, **settings: Any) -> Answer:
        """Ask the next question; settings as for `VideoX2L.stream`."""
        return self.stream(question, **settings).answer

    def stream(self, question: str, **settings: Any) -> AnswerStream:
        """Ask the next question and iterate over the answer's text; the turn counts once it is finished."""
        was_said = not self.engine.model.trained_on_conversations and len(self.turns) > 1
        history = () if was_said else tuple(self.turns)
        return self.engine.stream(self.index, question, history=history, finished=self._remember, **settings)

    def _remember(self, answer: Answer) -> None:
        self.turns.append(Turn(answer.question, answer.text))
