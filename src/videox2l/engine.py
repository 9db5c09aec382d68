"""Video-X2L: index a video once, then score, select, re-load and decode for every question (arXiv 2506.21184)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from videox2l.answering.answer import Answer
from videox2l.answering.generation import Generation
from videox2l.answering.prompt_subtitles import cues_for_prompt, question_with
from videox2l.answering.scheduler import Scheduler
from videox2l.answering.stream import AnswerStream, QuestionText
from videox2l.checks import check_kind, check_number, check_question, check_text
from videox2l.compression.base import Compressor
from videox2l.compression.registry import compressor_for, refuse_kvs
from videox2l.errors import QuestionError, SettingsError, VideoX2LError
from videox2l.find import find_in
from videox2l.index.builder import IndexProgress, index_video
from videox2l.index.reload import LastCache
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
    keeps_cache: whether the cache of the last answer is kept for the next question, which re-loads only what is not the
        same; answers do not change, and one cache more is in memory. True by default.
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
    keeps_cache: bool = True
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
        self._last = LastCache(int(self.keeps_cache and self.model.reuses_kvs))
        oracle = make_oracle(self.oracle, encoder=self.encoder)
        if not self.model.reuses_kvs:
            self.selector = self._fitted(self.selector)
        selector = make_selector(self.selector)
        selector.check(self.compressor.levels, oracle.levels)
        if self.second_look and not self.model.reuses_kvs:
            raise SettingsError(f"{self.model.name} can't read a question twice from one cache: leave second_look out")
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
        """Load a model by hub id, directory, or the name of a bundled one, "nano" or "nano-qwen".

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
        read = self._read_by(oracle)
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

    def ask_many(
        self, videos: Any, questions: Sequence[str], *, scheduler: Scheduler | None = None, **settings: Any
    ) -> list[Answer | VideoX2LError]:
        """Answer several questions at once, which takes less time than one after the other; answers are the same.

        videos: one for all questions, or a list with one for each, as for `stream`. scheduler: how much is answered at
        once; by default one of `scheduler`. settings: for all of them, as for `stream`.
        Returns the answers in the order of the questions; where one failed, its error stands in its place.
        Raises: VideoError, SettingsError or StoreError if the one video can't be indexed; SettingsError if there are
        not as many videos as questions.
        """
        scheduler = self.scheduler() if scheduler is None else scheduler
        if not isinstance(videos, list | tuple):
            videos = [self._indexed(videos)] * len(questions)
        if len(videos) != len(questions):
            raise SettingsError(
                f"{len(videos)} videos for {len(questions)} questions: pass one for each, or a single one"
            )
        streams: list[AnswerStream | VideoX2LError] = []
        for video, question in zip(videos, questions, strict=True):
            try:
                streams.append(self.stream(video, question, scheduler=scheduler, **settings))
            except VideoX2LError as error:
                streams.append(error)
        scheduler.run()
        return [stream.outcome if isinstance(stream, AnswerStream) else stream for stream in streams]

    def scheduler(self, **limits: int) -> Scheduler:
        """What answers several questions at once: pass it to `stream`, then call its `run`.

        limits: sequences, cache_tokens, step_tokens; see `Scheduler`.
        """
        return Scheduler(self.model, last=self._last, **limits)

    def stream(
        self,
        video: Any,
        question: str,
        *,
        oracle: str | Oracle | None = None,
        selector: str | Selector | None = None,
        generation: Generation | None = None,
        history: tuple[Turn, ...] = (),
        scheduler: Scheduler | None = None,
        piece: Callable[[str], None] = lambda _: None,
        finished: Callable[[Answer], None] = lambda _: None,
    ) -> AnswerStream:
        """Answer a question piece by piece: iterate over the text, then read `.answer`.

        The oracle scores the chunks, the selector chooses a level for each, these are re-loaded in one cache, and the
        answer is decoded from it: now, or if there is a scheduler as soon as it has room.

        video: an index, or a video as for `index`, which is then made or found in the store first.
        oracle, selector: instead of this engine's. history: earlier turns, which stay in the context; a model that was
        not trained on conversations is asked without them, and the answer says so. scheduler: answers the question
        together with the others that it has; by default it is answered by itself. piece: called with every piece of
        text as it is decoded. finished: called once with the finished answer.
        Raises: QuestionError if the question is empty or too long; SettingsError, also if another model made the index;
        for a video that has no index yet, what `index` raises. With a scheduler, what goes wrong later is raised by
        the stream.
        """
        check_question(question)
        generation = Generation() if generation is None else generation
        check_kind(generation, Generation, "generation", "for example Generation(max_new_tokens=64)")
        index = self._with_own_subtitles(self._indexed(video, oracle))
        index.spec.check_model(self.model)
        alone = self._alone_notes if history else ()
        history = () if alone else history
        ids = self.model.question_ids(question, history)
        self._check_length(len(ids))

        def write(selection: Selection) -> QuestionText:
            cues, cut = self._prompt_cues(index, question, selection, self.model.max_positions - len(ids))
            text = self.model.question_ids(question_with(cues, question), history) if cues else ids
            return QuestionText(text, cues, cut)

        choice = self._choice(index, oracle or self.oracle, selector or self.selector)
        is_alone = scheduler is None
        scheduler = scheduler or self.scheduler(sequences=1, step_tokens=self.model.max_positions)
        stream = AnswerStream(
            model=self.model,
            index=index,
            question=question,
            choice=choice,
            write=write,
            generation=generation,
            scheduler=scheduler,
            notes=alone,
            piece=piece,
            finished=finished,
            widen=choice.selector.widened if self.second_look and choice.selector.needs_scores else None,
        )
        scheduler.add(stream)
        if is_alone:
            scheduler.join()
            if stream.error is not None:
                raise stream.error
        return stream

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

    def _choice(self, index: VideoIndex, oracle: str | Oracle, selector: str | Selector) -> ScoredChoice:
        oracle = make_oracle(oracle, encoder=self.encoder)
        name = ORACLES.name(oracle)
        if index.subtitles and oracle.takes_subtitles:
            oracle = SubtitleOracle(oracle)
        if self.reads_times and oracle.takes_times:
            oracle = TimeOracle(oracle)
        return ScoredChoice(self.model, oracle, name, self._fitted(selector))

    def _fitted(self, selector: str | Selector) -> Selector:
        """A selector, told to leave chunks out where there is no coarser level to read them at."""
        selector = make_selector(selector)
        if self.model.reuses_kvs or not hasattr(selector, "leaves_out"):
            return selector
        return replace(selector, leaves_out=True)  # type: ignore[call-arg]

    @property
    def index_compressor(self) -> Compressor:
        """The compressor with all levels that an index is made with, those that the oracle reads among them."""
        return self._with_levels(self._read_by(None))

    def _read_by(self, oracle: str | Oracle | None) -> tuple[int, ...]:
        """The levels that an oracle reads, or this engine's own if its selector reads scores."""
        if oracle is None and not make_selector(self.selector).needs_scores:
            return ()
        return make_oracle(oracle or self.oracle, encoder=self.encoder).levels

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


@dataclass(frozen=True)
class ScoredChoice:
    """An oracle scores the chunks, and a selector chooses their levels by the scores.

    model: what reads the KVs that an oracle wants read. oracle, selector: ready to use. name: of the oracle as it was
    asked for.
    """

    model: MLLM
    oracle: Oracle
    name: str
    selector: Selector

    def select(self, index: VideoIndex, questions: Sequence[str]) -> list[Selection]:
        """For each question the chunks' levels."""
        described = SELECTORS.describe(self.selector)
        if not self.selector.needs_scores:
            return [replace(self.selector.choose(None, index), selector=described) for _ in questions]
        selections = []
        for question, scores in zip(questions, self.oracle.score_all(self.model, index, questions), strict=True):
            selection = self.selector.choose(scores, index)
            selections.append(
                replace(
                    selection,
                    notes=(*self.oracle.notes(index, question), *selection.notes),
                    frames=scores.frames,
                    named=scores.named,
                    subtitles=scores.subtitles,
                    oracle=self.name,
                    selector=described,
                )
            )
        return selections


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
