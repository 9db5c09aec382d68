"""Ask the same questions about the same videos in every setting."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from videox2l.answering.answer import Answer
from videox2l.answering.generation import Generation
from videox2l.answering.stream import AnswerStream
from videox2l.digest import digest
from videox2l.engine import VideoX2L
from videox2l.errors import SettingsError
from videox2l.evaluation.answers_file import AnswersFile, GivenAnswer
from videox2l.evaluation.question_set import OPTION_REQUEST, AskedVideo, Item, QuestionSet
from videox2l.evaluation.result import EvaluationResult, Outcome, SettingResult
from videox2l.evaluation.settings import Setting, check_settings, comparison, of_size
from videox2l.index.builder import IndexProgress
from videox2l.index.video_index import VideoIndex
from videox2l.levels import Level, level_name
from videox2l.models.base import MLLM, Turn
from videox2l.selection.registry import make_selector
from videox2l.selection.top_k import TopK
from videox2l.store import RamStore
from videox2l.types import ChunkReport
from videox2l.version import __version__
from videox2l.video import Sampling


@dataclass(frozen=True)
class EvaluationProgress:
    """How far an evaluation is.

    video, videos: the number of the one in work, from 0, of how many.
    answers, total_answers: those given, of how many in all settings.
    frames, total_frames: of the video that is being indexed; both 0 while questions are asked.
    """

    video: int
    videos: int
    answers: int
    total_answers: int
    frames: int = 0
    total_frames: int = 0


def evaluate(
    engine: VideoX2L,
    questions: QuestionSet,
    settings: tuple[Setting, ...] | None = None,
    *,
    sampling: Sampling,
    generation: Generation,
    kept: AnswersFile | None = None,
    at_once: int = 8,
    progress: Callable[[EvaluationProgress], None] = lambda _: None,
) -> EvaluationResult:
    """Ask every question in every setting, several at once.

    engine: the model with its encoder, and the store where indexes are kept; memory holds those of one video at a time.
    settings: by default the engine's own and what it must beat; differences are measured against the first. Settings
        with the same compression share one index of each video.
    sampling: which frames are looked at. generation: how answers are decoded.
    kept: answers that are there already are not asked for again, and new ones are added as they come; by default none.
    at_once: how many questions of a setting about a video are answered at once; see `Scheduler`.
    Raises: SettingsError, VideoError, ModelError, StoreError.
    """
    settings = comparison(Setting.of(engine), engine.encoder is not None) if settings is None else settings
    check_settings(settings, engine)
    outcomes: dict[str, list[Outcome]] = {setting.name: [] for setting in settings}
    done = EvaluationProgress(
        0, len(questions.videos), 0, len(settings) * sum(len(video.items) for video in questions.videos)
    )
    if not done.total_answers:
        raise SettingsError("there is no question to ask: choose other videos or more tasks")
    if any(item.options for video in questions.videos for item in video.items):
        check_letters(engine.model)
    progress(done)
    for number, video in enumerate(questions.videos):
        done = replace(done, video=number)

        def show_index(made: IndexProgress, done: EvaluationProgress = done) -> None:
            progress(replace(done, frames=made.frames, total_frames=made.total_frames))

        store = RamStore() if isinstance(engine.store, RamStore) else engine.store

        def count_answer() -> None:
            nonlocal done
            done = replace(done, answers=done.answers + 1)
            progress(done)

        with VideoInWork(
            replace(engine, store=store, keeps_cache=False),
            video,
            settings,
            sampling=sampling,
            generation=generation,
            kept=kept,
            at_once=at_once,
            indexing=show_index,
            answered=count_answer,
        ) as in_work:
            for setting in settings:
                for conversation in in_work.ask(setting):
                    outcomes[setting.name] += [
                        judged(given, item, number)
                        for item, given in zip(conversation.items, conversation.given, strict=True)
                    ]
    return EvaluationResult(
        model=engine.model.name,
        model_fingerprint=engine.model.fingerprint,
        questions=questions,
        sampling=sampling,
        settings=tuple(
            SettingResult(setting, tuple(outcomes[setting.name]), questions.mean_tasks) for setting in settings
        ),
    )


def check_letters(model: MLLM) -> None:
    """Raises: SettingsError if a model has no words for the request to choose an option by its letter."""
    if unknown := model.unknown_words(OPTION_REQUEST):
        raise SettingsError(
            f"{model.name} can't choose options by their letter, it does not know {', '.join(unknown[:3])}: pass "
            "--no-options, so that it answers in its own words"
        )


def judged(given: GivenAnswer, item: Item, video: int) -> Outcome:
    """An answer with its question's truth."""
    return Outcome(**vars(given), video=video, task=item.task, truth=item.truth, is_right=item.is_right(given.text))


@dataclass
class Conversation:
    """A conversation in progress: its questions, and the answers that were given so far."""

    items: tuple[Item, ...]
    given: list[GivenAnswer] = field(default_factory=list)

    @property
    def next_item(self) -> Item | None:
        """The question to be asked next; None at the end."""
        return self.items[len(self.given)] if len(self.given) < len(self.items) else None

    @property
    def history(self) -> tuple[Turn, ...]:
        """The turns that stay in the context."""
        return tuple(Turn(item.text, given.text) for item, given in zip(self.items, self.given, strict=False))


class VideoInWork:
    """One video, made or opened and indexed when the first answer needs it.

    engine, video, settings, sampling, generation, kept, at_once: as for `evaluate`. indexing: called with the progress
    of an index. answered: called for every answer.
    """

    def __init__(
        self,
        engine: VideoX2L,
        video: AskedVideo,
        settings: tuple[Setting, ...],
        *,
        sampling: Sampling,
        generation: Generation,
        kept: AnswersFile | None,
        at_once: int,
        indexing: Callable[[IndexProgress], None],
        answered: Callable[[], None],
    ):
        self._engine, self._video, self._sampling = engine, video, sampling
        self._indexing, self._answered = indexing, answered
        self._generation, self._kept = generation, kept
        self._scheduler = engine.scheduler(sequences=at_once)
        self._settings = {setting.name: setting for setting in settings}
        self._indexes: dict[tuple[str, tuple[Level, ...]], tuple[VideoX2L, VideoIndex]] = {}
        self._since_s = 0.0
        self._cache_tokens: dict[tuple[str, Item], int] = {}
        self._of_size: dict[tuple[str, int], Setting] = {}
        self._index_s: dict[str, float] = {}
        self._path: Path | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def ask(self, setting: Setting) -> list[Conversation]:
        """All conversations in a setting, held at once: answers that are kept are used, new ones are kept."""
        conversations = [Conversation(items) for items in self._video.conversations]
        streams: list[AnswerStream] = []

        def go_on(conversation: Conversation) -> None:
            while (item := conversation.next_item) is not None:
                key = self._key(setting, item, conversation.history)
                given = None if self._kept is None else self._kept.get(key)
                if given is None:
                    streams.append(self._stream(setting, item, conversation, partial(take, conversation, item)))
                    return
                count(conversation, item, given)

        def take(conversation: Conversation, item: Item, answer: Answer) -> None:
            given = self._given(setting, item, answer)
            if self._kept is not None:
                about = {"model": self._engine.model.name, "setting": setting.name, "video": self._video.name}
                asked = {"task": item.task, "question": item.text, "truth": item.truth}
                key = self._key(setting, item, conversation.history)
                self._kept.add(key, given, about | asked | {"is_right": item.is_right(given.text)})
            count(conversation, item, given)
            go_on(conversation)

        def count(conversation: Conversation, item: Item, given: GivenAnswer) -> None:
            conversation.given.append(given)
            self._cache_tokens[setting.name, item] = given.cache_tokens
            self._answered()

        for conversation in conversations:
            go_on(conversation)
        self._scheduler.run()
        for stream in streams:
            _ = stream.answer  # raises what went wrong
        return conversations

    def _key(self, setting: Setting, item: Item, history: tuple[Turn, ...]) -> str:
        """The digest of all that an answer depends on."""
        model, encoder, equal = self._engine.model, self._engine.encoder, setting.same_size_as
        depends: dict[str, Any] = {
            "version": __version__,
            "model": [model.fingerprint, str(model.dtype)],
            "encoder": encoder and encoder.fingerprint,
            "video": self._video.identity,
            "sampling": asdict(self._sampling),
            "reads_times": self._engine.reads_times,
            "subtitles": [
                self._engine.reads_subtitles,
                self._engine.subtitle_language,
                self._engine.subtitles_in_prompt,
            ],
            "second_look": self._engine.second_look,
            "setting": setting.to_json(),
            "equal_size": equal and [self._settings[equal].to_json(), self._budget(setting, item)],
            "question": [item.text, item.times_s],
            "history": [asdict(turn) for turn in history],
            "generation": asdict(self._generation),
        }
        return digest(depends)

    def _stream(
        self, setting: Setting, item: Item, conversation: Conversation, finished: Callable[[Answer], None]
    ) -> AnswerStream:
        budget = self._budget(setting, item)
        engine, index = self._indexed(self._sized(setting, item))
        selector = make_selector(engine.selector)
        if budget is not None:
            selector = replace(selector, cache_tokens=budget)  # type: ignore[call-arg]  # as `has_budget` says
        if self._scheduler.is_idle:
            self._since_s = time.perf_counter()
        return engine.stream(
            index,
            item.text,
            selector=selector,
            generation=self._generation,
            history=conversation.history,
            scheduler=self._scheduler,
            finished=finished,
        )

    def _given(self, setting: Setting, item: Item, answer: Answer) -> GivenAnswer:
        sized = self._sized(setting, item)
        _, index = self._indexed(sized)
        before_s, self._since_s = self._since_s, time.perf_counter()
        return GivenAnswer(
            text=answer.text,
            recall=recall(answer, item.times_s, sized),
            cache_tokens=answer.cache_tokens,
            full_cache_tokens=answer.full_cache_tokens,
            level=sized.compressor.levels[0] if setting.same_size_as and not setting.has_budget else None,
            ratios=real_ratios(answer),
            notes=answer.notes,
            index_s=self._index_s[index.key],
            ask_s=self._since_s - before_s,
            prefill_s=answer.timings_s.get("prefill", 0.0),
        )

    def _budget(self, setting: Setting, item: Item) -> int | None:
        """The tokens that another setting's cache had for a question, for a setting that is to have as many."""
        if setting.same_size_as is None or not setting.has_budget:
            return None
        return self._cache_tokens[setting.same_size_as, item]

    def _sized(self, setting: Setting, item: Item) -> Setting:
        """A setting, with its one level if it is to be as large as another one was for this question."""
        if setting.same_size_as is None or setting.has_budget:
            return setting
        size = self._cache_tokens[setting.same_size_as, item]
        if (setting.name, size) not in self._of_size:
            _, index = self._indexed(self._settings[setting.same_size_as])
            self._of_size[setting.name, size] = of_size(setting, index, size)
        return self._of_size[setting.name, size]

    def _indexed(self, setting: Setting) -> tuple[VideoX2L, VideoIndex]:
        """A setting's engine, and its index of the video."""
        made = setting.name, setting.compressor.levels
        if made not in self._indexes:
            if self._path is None:
                self._path = self._open.enter_context(self._video.at_hand())
            engine = setting.engine(self._engine)
            index = engine.index(self._path, self._sampling, self._indexing)
            self._index_s.setdefault(index.key, index.seconds)
            self._indexes[made] = engine, index
        return self._indexes[made]


def recall(answer: Answer, times_s: tuple[float, ...], setting: Setting) -> dict[str, float]:
    """Shares of the chunks of these times that were found; see `GivenAnswer`."""
    shown = {chunk.index for chunk in answer.chunks for time_s in times_s if chunk.start_s <= time_s < chunk.end_s}
    if not shown or not setting.selects:
        return {}
    scored = [(chunk.score, chunk.index) for chunk in answer.chunks if chunk.score is not None]
    ranked = [index for _, index in sorted(scored, key=lambda pair: -pair[0])]  # of equal scores the earlier first
    k = setting.selector.k if isinstance(setting.selector, TopK) else 1
    read = {f"@{best}": ranked[:best] for best in sorted({1, k} - {0})} if scored else {}
    finest = setting.compressor.levels[0]
    # two_pass keeps the first and last chunk fine at every level
    fine = [chunk for chunk in answer.chunks if chunk.level == finest or (chunk.ratio or finest + 1) <= finest]
    read["in_detail"] = [chunk.index for chunk in fine if any(reads(answer, chunk, time_s) for time_s in times_s)]
    return {name: len(shown.intersection(chunks)) / len(shown) for name, chunks in read.items()}


def reads(answer: Answer, chunk: ChunkReport, time_s: float) -> bool:
    """Whether the frame that a chunk shows at a time was among those that were read, where these are not all."""
    if chunk.frames_s is None:
        return True
    starts = [frame.time_s for frame in answer.index.entries[chunk.index].frames]
    return starts[max(0, bisect_right(starts, time_s) - 1)] in chunk.frames_s


def real_ratios(answer: Answer) -> dict[str, float]:
    """The real compression ratio of what was read at each level, by the level's name."""
    raw, read = Counter[str](), Counter[str]()
    for chunk in answer.chunks:
        if chunk.ratio is not None:
            tokens = answer.index.entries[chunk.index].raw_tokens
            raw[level_name(chunk.level)] += tokens
            read[level_name(chunk.level)] += round(tokens / chunk.ratio)
    return {level: round(tokens / read[level], 2) for level, tokens in raw.items()}
