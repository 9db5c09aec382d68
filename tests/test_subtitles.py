"""Subtitles: found beside a video and in it, kept with the index, searched for a question's words, put into prompts."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from av.stream import Disposition
from command import Run
from subtitled import Line, ass, srt, vtt, write_subtitled_video
from torch import Tensor
from videos import write_video

from videox2l import Answer, Generation, TopK, VideoIndex, VideoX2L
from videox2l.errors import SettingsError
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.oracles.fusion import Fusion
from videox2l.oracles.random import RandomOracle
from videox2l.oracles.subtitles import SubtitleOracle
from videox2l.oracles.temporal import Temporal
from videox2l.oracles.time import TimeOracle
from videox2l.store import RamStore, open_store
from videox2l.tracks.subtitles import SubtitleTrack, find_subtitles, read_subtitles
from videox2l.video import FrameArray, open_video

SHORT = Generation(max_new_tokens=2)

SAID: list[Line] = [
    (0.5, 1.5, "Good evening and welcome to the harbour."),
    (3.0, 4.5, "The old bridge was closed in spring."),
    (5.0, 5.8, "Nobody knew why."),
    (8.2, 9.6, "Then the mayor cut a yellow ribbon."),
    (10.1, 11.5, "And the band played until midnight."),
]
"""In a video of twelve seconds, cut into chunks of two: said in the chunks 0, 1 and 2, 2, 4, 5."""

AUF_DEUTSCH: list[Line] = [
    (0.5, 1.5, "Guten Abend und willkommen am Hafen."),
    (3.0, 4.5, "Die alte Brücke wurde im Frühjahr geschlossen."),
    (5.0, 5.8, "Niemand wusste, warum das so war."),
]
AUF_RUSSISCH: list[Line] = [
    (0.5, 1.5, "Добрый вечер, мы сегодня в порту."),
    (2.5, 3.5, "Никто не знал, почему это было так."),
    (6.0, 7.0, "Старый мост был закрыт весной."),
]


class Fixed(Oracle):
    """The second chunk stands out, the fourth comes next."""

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        return torch.tensor([-0.6, -0.3, -0.7, -0.5, -0.9, -0.8])


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "talk.mp4", 48, fps=4)


@pytest.fixture
def asking(engine: VideoX2L) -> VideoX2L:
    """Reads the two best chunks and no others in full detail."""
    return replace(engine, oracle=Fixed(), selector=TopK(2, fine_edges=False))


def said_in(index: VideoIndex) -> list[str]:
    return [track.name for track in index.subtitles]


def ask(engine: VideoX2L, index: VideoIndex | Path, question: str, **settings: Any) -> Answer:
    return engine.ask(index, question, generation=SHORT, **settings)


def chosen(answer: Answer) -> set[int]:
    return {chunk.index for chunk in answer.chunks if chunk.is_chosen}


def ranked(answer: Answer) -> list[int]:
    return sorted(range(len(answer.chunks)), key=lambda chunk: -(answer.chunks[chunk].score or 0))


def tracks_of(video: Path) -> tuple[tuple[SubtitleTrack, ...], tuple[str, ...]]:
    return find_subtitles(open_video(video), RamStore())


def texts(track: SubtitleTrack) -> list[str]:
    return [cue.text for cue in track.cues]


# what is found


@pytest.mark.parametrize("write", [srt, vtt, ass])
def test_a_file_beside_the_video_is_read_in_every_format(video: Path, write: Any) -> None:
    name = f"talk.en.{write.__name__}"
    video.with_name(name).write_text(write(SAID))
    (track,), notes = tracks_of(video)
    assert (track.name, track.language, notes) == (name, "en", ())
    assert texts(track) == [text for *_, text in SAID]
    assert [(cue.start_s, cue.end_s) for cue in track.cues] == [
        pytest.approx((start_s, end_s), abs=0.011) for start_s, end_s, _ in SAID
    ]


@pytest.mark.parametrize(
    ("codec", "ending"), [("mov_text", "mp4"), ("subrip", "mkv"), ("ass", "mkv"), ("webvtt", "mkv")]
)
def test_text_streams_in_the_video_are_read_the_default_one_first(tmp_path: Path, codec: str, ending: str) -> None:
    streams: Sequence[Any] = [
        ("ger", "Deutsch", 0, AUF_DEUTSCH),
        ("eng", "English", Disposition.default, SAID),
    ]
    video = write_subtitled_video(tmp_path / f"talk.{ending}", codec, streams)
    (english, german), notes = tracks_of(video)
    assert (english.name, english.language) == ("track 2 (English)", "en")
    assert (german.name, german.language, texts(german)[0]) == ("track 1 (Deutsch)", "de", AUF_DEUTSCH[0][2])
    assert texts(english) == [text for *_, text in SAID]
    assert [cue.start_s for cue in english.cues] == pytest.approx([start_s for start_s, *_ in SAID], abs=1e-3)
    assert [cue.end_s for cue in english.cues] == pytest.approx([end_s for _, end_s, _ in SAID], abs=1e-3)
    assert notes == ()


def test_files_come_first_and_only_those_of_this_video(tmp_path: Path) -> None:
    video = write_subtitled_video(tmp_path / "talk.mkv", "subrip", [("eng", "", Disposition.default, SAID)])
    names = ["talk.forced.srt", "talk.de.srt", "talk.srt", "talk.mkv.fr.srt", "talk.en-US.sdh.vtt"]
    for name in [*names, "talk.part.srt", "talk.2.srt.srt", "talks.srt", "other.srt", "talk.txt"]:
        video.with_name(name).write_text(srt(SAID) if name.endswith("srt") else vtt(SAID))
    found, _ = tracks_of(video)
    assert [(track.name, track.language) for track in found] == [
        ("talk.srt", None),
        ("talk.de.srt", "de"),
        ("talk.en-US.sdh.vtt", "en"),
        ("talk.mkv.fr.srt", "fr"),
        ("talk.forced.srt", None),
        ("track 1", "en"),
    ]


def test_a_folder_of_images_has_them_beside_it_and_frames_in_memory_have_none(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "frames.v1"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (32, 32)).save(folder / f"{number}.png")
    (tmp_path / "frames.v1.srt").write_text(srt(SAID[:1]))
    assert [track.name for track in tracks_of(folder)[0]] == ["frames.v1.srt"]
    array = open_video(FrameArray(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), [0.0, 1.0]))
    assert find_subtitles(array, RamStore()) == ((), ())


def test_tags_are_left_out_of_the_text(video: Path) -> None:
    lines = [
        (1, 2, "<i>Who</i> is <font color='red'>there</font>?"),
        (3, 4, r"{\an8\b1}Nobody\Nhere &amp; now"),
        (5, 6, "- Two < three?\n- Yes"),
        (7, 8, "<v Anna>Hello <00:00:07.500>all"),
        (9, 10, "<i></i>"),
        (11, 12, "\x1b[2JGone\x07 !"),
    ]
    video.with_suffix(".srt").write_text(srt(lines))
    (track,), _ = tracks_of(video)
    assert texts(track) == ["Who is there?", "Nobody here & now", "- Two < three? - Yes", "Hello all", "[2JGone !"]


# what can't be read as it is


NAH: list[Line] = [(1, 2, "Für Schüler: die Brücke über die Straße ist schön, größer und älter als früher.")]
MOST: list[Line] = [(1, 2, "Привет, как дела? Мы идём домой через старый мост."), (3, 4, "Спасибо, до завтра.")]


@pytest.mark.parametrize(
    ("lines", "encoding", "is_guess"),
    [(NAH, "cp1252", True), (MOST, "cp1251", True), (MOST, "utf-16", False), (NAH, "utf-8-sig", False)],
)
def test_another_encoding_is_read_and_a_guess_is_said(
    video: Path, lines: list[Line], encoding: str, is_guess: bool
) -> None:
    video.with_suffix(".srt").write_bytes(srt(lines).encode(encoding))
    (track,), notes = tracks_of(video)
    assert texts(track) == [text for *_, text in lines]
    assert len(notes) == is_guess
    assert all("talk.srt is not in UTF-8: it was read as" in note and "guess" in note for note in notes)


UNREADABLE = {
    "an empty file": (b"", "talk.srt is an empty file"),
    "blanks": (b" \n\n", "talk.srt is an empty file"),
    "no text with times": (b"Hello there.\nNo times here.", "talk.srt holds no text with times"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "talk.srt "),
    "times without text": (srt([(1, 2, ""), (3, 4, " ")]).encode(), "none of the 2 cues of talk.srt has text"),
    "beyond the video": (srt([(60, 62, "Late.")]).encode(), "none of the 1 cues of talk.srt has text within the video"),
}


@pytest.mark.parametrize(("content", "said"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_that_cant_be_used_is_left_out_with_a_note_and_refused_if_it_was_named(
    asking: VideoX2L, run: Run, video: Path, content: bytes, said: str
) -> None:
    video.with_suffix(".srt").write_bytes(content)
    index = asking.index(video)
    assert index.subtitles == ()
    (note,) = index.notes
    assert said in note
    assert note.endswith(": it was left out")
    with pytest.raises(SettingsError, match=r"\.srt"):
        index.with_subtitles(video.with_suffix(".srt"))
    code, out, err = run("ask", video, "Who?", "--subtitles", video.with_suffix(".srt"), "--chunk-frames", 2)
    assert code == 2
    assert not out
    assert said in err.splitlines()[-1]


def test_a_damaged_file_gives_what_is_whole(video: Path) -> None:
    content = srt([*SAID[:3], (6, 7, "Ça va là-bas, après l'été, à côté du café où l'on a déjà mangé.")]).encode()
    cut = content.replace("é".encode(), b"\xc3", 1) + b"5\n00:00:09,000 --> 00:0"
    video.with_suffix(".srt").write_bytes(cut)
    (track,), (note,) = tracks_of(video)
    assert note == "damaged characters of talk.srt were left out: 1"
    assert texts(track)[:3] == [text for *_, text in SAID[:3]]
    assert texts(track)[3].startswith("Ça va là-bas, après l'té, à côté")


def test_cues_out_of_order_beyond_the_end_or_over_each_other_are_put_right_and_said(video: Path) -> None:
    lines = [(8, 9, "third"), (1, 3, "first"), (2, 4, "second"), (10, 9, "backwards"), (13, 14, "late"), (11, 20, "on")]
    video.with_suffix(".srt").write_text(srt(lines))
    (track,), notes = tracks_of(video)
    assert texts(track) == ["first", "second", "third", "backwards", "on"]
    assert [(cue.start_s, cue.end_s) for cue in track.cues][3:] == [(10, 11), (11, 20)]
    assert notes == (
        "cues of talk.srt beyond the video, which ends at 0:12, were left out: 1",
        "cues of talk.srt that end before they start were taken to last a second: 1",
        "cues of talk.srt that overlap the one before were kept as they are: 1",
    )


def test_subtitles_that_are_pictures_are_left_out_and_said(tmp_path: Path) -> None:
    video = write_subtitled_video(tmp_path / "talk.mkv", "dvd_subtitle", [("eng", "", 0, [])])
    assert tracks_of(video) == ((), ("the subtitles of track 1 are pictures, which can't be read as text: left out",))


# kept with the index


def test_they_come_to_an_index_that_was_made_without_and_no_chunk_is_made_anew(
    asking: VideoX2L, video: Path, tmp_path: Path
) -> None:
    asking = replace(asking, store=open_store(tmp_path / "store"))
    before = asking.index(video)
    assert before.subtitles == ()
    video.with_suffix(".srt").write_text(srt(SAID))
    found = asking.index(video)
    assert said_in(found) == ["talk.srt"]
    assert found.reused
    assert found.key == before.key
    video.with_suffix(".srt").write_text(srt([(1, 2, "Something else.")]))
    assert texts(asking.index(video).subtitles[0]) == ["Something else."]
    video.with_suffix(".srt").unlink()
    assert asking.index(video).subtitles == ()


def test_a_question_needs_neither_the_video_nor_the_file(asking: VideoX2L, video: Path, tmp_path: Path) -> None:
    video.with_suffix(".srt").write_text(srt(SAID))
    index = replace(asking, store=open_store(tmp_path / "store")).index(video)
    video.with_suffix(".srt").unlink()
    video.unlink()
    assert ranked(ask(asking, index, 'Who is there when he says "cut a yellow ribbon"?'))[0] == 4


def test_the_streams_of_a_video_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = open_video(write_subtitled_video(tmp_path / "talk.mkv", "subrip", [("eng", "", 0, SAID)]))
    store = open_store(tmp_path / "store")
    first = find_subtitles(video, store)
    monkeypatch.setattr(type(video), "subtitle_streams", lambda self: pytest.fail("read again"))
    assert find_subtitles(video, store) == first
    (manifest,) = (tmp_path / "store").glob("subtitles-*/manifest.json")
    for damaged in ("[]", '{"sources": {"": {}}}', '{"sources": 1}', '{"sources": {"": {"digest": 1, "tracks": 1}}}'):
        manifest.write_text(damaged)
        monkeypatch.setattr(type(video), "subtitle_streams", lambda self: ())
        assert find_subtitles(video, store) == ((), ())  # read again


def test_a_file_that_is_named_takes_the_place_of_all_others(asking: VideoX2L, video: Path, tmp_path: Path) -> None:
    video.with_suffix(".srt").write_text(srt(SAID))
    other = tmp_path / "elsewhere.srt"
    other.write_text(srt([(6.5, 7.5, "A lighthouse keeper waves.")]))
    index = asking.index(video).with_subtitles(other)
    assert said_in(index) == ["elsewhere.srt"]
    assert ranked(ask(asking, index, "What about the lighthouse keeper?"))[0] == 3


# searched for a question's words


@pytest.fixture
def index(asking: VideoX2L, video: Path) -> VideoIndex:
    video.with_suffix(".srt").write_text(srt(SAID))
    index = asking.index(video)
    assert len(index.chunks) == 6
    return index


@pytest.mark.parametrize(
    ("question", "chunk", "start_s"),
    [
        ('What is shown when the subtitles say "the mayor cut a yellow ribbon"?', 4, 8.2),
        ("Where does he stand at the words 'the band played until midnight'?", 5, 10.1),
        ("Who cut the yellow ribbon as a mayor?", 4, 8.2),
        ("What happens while bands are playing after midnights?", 5, 10.1),
    ],
)
def test_the_chunk_where_it_is_said_comes_first_and_its_cue_is_the_moment(
    asking: VideoX2L, index: VideoIndex, question: str, chunk: int, start_s: float
) -> None:
    answer = ask(asking, index, question)
    assert ranked(answer)[0] == chunk
    assert chosen(answer) == {chunk, 1}  # what stood out keeps its place behind it
    (moment,) = answer.moments
    assert moment.start_s == pytest.approx(start_s)
    assert moment.subtitle is not None and moment.confidence is not None and moment.confidence > 0.5
    assert answer.to_json()["subtitles"] == "talk.srt"
    assert answer.notes == ()


def test_a_sentence_over_two_cues_is_found_in_both(asking: VideoX2L, index: VideoIndex) -> None:
    answer = ask(asking, index, 'Who says "bridge was closed in spring nobody knew why"?')
    assert set(ranked(answer)[:2]) == {1, 2}
    assert answer.moments[0].start_s == 3.0


def test_a_single_word_weights_and_does_not_decide(asking: VideoX2L, index: VideoIndex) -> None:
    answer = ask(asking, index, "What colour and number does the heart on the small yellow ship over there have?")
    assert chosen(answer) == {1, 3}  # as the oracle has them
    assert (answer.chunks[4].score or 0) > (answer.chunks[5].score or 0)  # which it has the other way round
    assert all(moment.subtitle is None for moment in answer.moments)


@pytest.mark.parametrize("question", ["What number does the orange heart show?", "What is it?", "What does he say?"])
def test_without_any_of_the_words_the_scores_are_the_oracles_own(
    asking: VideoX2L, index: VideoIndex, question: str
) -> None:
    answer = ask(asking, index, question)
    plain = ask(replace(asking, reads_subtitles=False), index, question)
    assert [chunk.score for chunk in answer.chunks] == [chunk.score for chunk in plain.chunks]
    assert answer.moments == plain.moments
    assert answer.to_json()["subtitles"] is None
    assert answer.notes == ()


def test_they_can_be_left_unread(asking: VideoX2L, index: VideoIndex, video: Path) -> None:
    deaf = replace(asking, reads_subtitles=False)
    assert ranked(ask(deaf, index, 'Who says "cut a yellow ribbon"?'))[0] == 1
    assert deaf.index(video).subtitles == ()


def test_chance_stays_chance(asking: VideoX2L, index: VideoIndex) -> None:
    question = 'Who says "cut a yellow ribbon"?'
    drawn = RandomOracle().score(asking.model, index, question).chunks
    answer = ask(replace(asking, oracle="random"), index, question)
    assert [chunk.score for chunk in answer.chunks] == drawn.tolist()
    assert not Temporal(RandomOracle()).takes_subtitles
    assert not Fusion((Fixed(), SubtitleOracle())).takes_subtitles
    assert not TimeOracle().takes_subtitles
    assert Temporal(Fusion((Fixed(), Fixed()))).takes_subtitles


def test_a_clear_time_decides_before_the_words(asking: VideoX2L, index: VideoIndex) -> None:
    answer = ask(asking, index, 'Who says "cut a yellow ribbon" at 0:01?')
    assert ranked(answer)[:2] == [0, 4]
    assert [(moment.start_s, moment.end_s) for moment in answer.moments] == [(1, 2)]


def test_alone_it_ranks_by_the_words_and_says_if_there_are_none(engine: VideoX2L, index: VideoIndex) -> None:
    alone = replace(engine, oracle="subtitles")
    assert ranked(ask(alone, index, "Who cut the ribbon?"))[0] == 4
    answer = ask(alone, index, "Is there a heart?")
    assert {chunk.score for chunk in answer.chunks} == {0.0}
    assert answer.notes == ("talk.srt holds no word of the question, so all chunks count the same",)
    (note,) = ask(alone, replace(index, subtitles=()), "Is there a heart?").notes
    assert note == "the video has no subtitles, so all chunks count the same"


def test_phrases_of_english_prose_are_found_and_other_questions_are_not_led_astray(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Measured with 300 questions each: 1.00, .99 and 1.00; see the docs."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    benchmark = importlib.import_module("benchmarks.subtitles")

    def best_chunks(kind: str) -> list[tuple[list[int], Any]]:
        found = []
        for number, question in enumerate(benchmark.asked(kind, minutes=5, count=60)):
            scores = torch.rand(30, generator=torch.Generator().manual_seed(number)) * 0.35
            scores[0] = 1
            oracle = SubtitleOracle(benchmark.Drawn(scores))
            fused = oracle.score(cast(MLLM, None), question.index, question.text).chunks
            found.append((fused.argsort(descending=True).tolist(), question.right))
        return found

    assert sum(best[0] in right for best, right in best_chunks("quoted")) >= 55
    assert sum(not right.isdisjoint(best[:3]) for best, right in best_chunks("reworded")) >= 52
    assert sum(best[0] == 0 for best, _ in best_chunks("unrelated")) >= 55


# several languages


@pytest.fixture
def tongues(asking: VideoX2L, video: Path) -> VideoIndex:
    video.with_name("talk.de.srt").write_text(srt(AUF_DEUTSCH))
    video.with_name("talk.en.srt").write_text(srt(SAID))
    video.with_name("talk.ru.srt").write_text(srt(AUF_RUSSISCH))
    return asking.index(video)


@pytest.mark.parametrize(
    ("question", "language", "name", "chunk"),
    [
        ("Wann wurde die alte Brücke geschlossen?", None, "talk.de.srt", 1),
        ("Почему закрыт старый мост?", None, "talk.ru.srt", 3),
        ("Who cut the yellow ribbon?", "English", "talk.en.srt", 4),
        ("Who cut the yellow ribbon?", "eng", "talk.en.srt", 4),
    ],
)
def test_the_one_in_the_questions_script_is_read_or_in_the_language_asked_for(
    asking: VideoX2L, tongues: VideoIndex, question: str, language: str | None, name: str, chunk: int
) -> None:
    answer = ask(replace(asking, subtitle_language=language), tongues, question)
    assert answer.to_json()["subtitles"] == name
    assert ranked(answer)[0] == chunk
    said = (
        f"of the subtitles talk.de.srt, talk.en.srt, talk.ru.srt, {name} was read: --subtitle-language chooses another"
    )
    assert answer.notes == (() if language else (said,))


def test_a_question_in_another_language_is_said(asking: VideoX2L, tongues: VideoIndex) -> None:
    german = replace(asking, subtitle_language="de")
    (note,) = ask(german, tongues, "What is the colour of the ribbon?").notes
    assert note == "talk.de.srt holds no word of the question and seems to be in another language: it was not used"
    russian = replace(asking, subtitle_language="ru")
    (note,) = ask(russian, tongues, "Ribbon?").notes
    assert "talk.ru.srt" in note


def test_a_language_that_is_not_there_reads_none_and_says_so(asking: VideoX2L, tongues: VideoIndex) -> None:
    answer = ask(replace(asking, subtitle_language="fr"), tongues, "Who cut the yellow ribbon?")
    assert answer.to_json()["subtitles"] is None
    assert answer.notes == (
        "the video has no subtitles in fr, only talk.de.srt, talk.en.srt, talk.ru.srt: none were read",
    )
    with pytest.raises(SettingsError, match="'klingonisch' is not a language"):
        replace(asking, subtitle_language="klingonisch")


def test_words_are_found_where_they_are_written_without_spaces(asking: VideoX2L, video: Path) -> None:
    video.with_suffix(".srt").write_text(
        srt([(1, 2, "今日はいい天気ですね。"), (8, 9, "古い橋は春に閉鎖されました。")])
    )
    answer = ask(asking, asking.index(video), "古い橋はいつ閉鎖されましたか")
    assert ranked(answer)[0] == 4


# in the prompt


def test_what_is_said_around_the_chosen_moments_stands_before_the_question(
    asking: VideoX2L, index: VideoIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = type(asking.model).question_ids

    def listening(model: MLLM, text: str, *more: Any) -> Tensor:
        asked.append(text)
        return real(model, text, *more)

    monkeypatch.setattr(type(asking.model), "question_ids", listening)
    reading = replace(asking, subtitles_in_prompt=True)
    answer = ask(reading, index, "Who cut the ribbon?")
    assert asked[-1] == (
        "Subtitles:\n[0:03] The old bridge was closed in spring.\n[0:08] Then the mayor cut a yellow ribbon.\n\n"
        "Who cut the ribbon?"
    )
    assert answer.question == "Who cut the ribbon?"
    assert answer.to_json()["cues"] == [
        {"start_s": 3.0, "end_s": 4.5, "text": "The old bridge was closed in spring."},
        {"start_s": 8.2, "end_s": 9.6, "text": "Then the mayor cut a yellow ribbon."},
    ]
    assert ask(asking, index, "Who cut the ribbon?").cues == ()
    assert asked[-1] == "Who cut the ribbon?"
    chat = reading.chat(index)
    chat.ask("Who cut the ribbon?", generation=SHORT)
    second = chat.ask("And the band that played?", generation=SHORT)
    assert [cue.start_s for cue in second.cues] == [3.0, 10.1]
    assert [turn.question for turn in chat.turns] == ["Who cut the ribbon?", "And the band that played?"]


def test_they_take_no_more_room_than_there_is(asking: VideoX2L, video: Path) -> None:
    lines = [(8 + number / 100, 9.5, f"number {number} says ribbon") for number in range(100)]
    video.with_suffix(".srt").write_text(srt([*lines, (2.5, 3, "The bridge.")]))
    reading = replace(asking, subtitles_in_prompt=True)
    index = reading.index(video)
    asking.model.max_positions, before = 400, asking.model.max_positions
    try:
        answer = ask(reading, index, "Who says ribbon?")
    finally:
        asking.model.max_positions = before
    assert 0 < len(answer.cues) < 30
    assert f"{101 - len(answer.cues)} of 101 cues of talk.srt found no room in the prompt: left out" in answer.notes


# on the command line, with nano


@pytest.fixture(scope="module")
def long_talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds, four chunks of nano, with subtitles in it."""
    lines = [(start_s * 3, end_s * 3, text) for start_s, end_s, text in SAID]
    return write_subtitled_video(
        tmp_path_factory.mktemp("long") / "talk.mp4", "mov_text", [("eng", "English", Disposition.default, lines)], 40
    )


def test_asking_on_the_command_line(run: Run, long_talk: Path, tmp_path: Path) -> None:
    asked = ("ask", long_talk, 'What is shown at "cut a yellow ribbon"?', "--model", "nano", "--k", 1, "--json")
    answer = json.loads(run(*asked)[1])
    assert answer["subtitles"] == "track 1 (English)"
    assert [moment["subtitle"] for moment in answer["moments"]] == ["Then the mayor cut a yellow ribbon."]
    assert [chunk["index"] for chunk in answer["chunks"] if chunk["is_chosen"]] == [2]
    assert json.loads(run(*asked, "--subtitles-in-prompt")[1])["cues"][-1]["text"] == SAID[3][2]
    plain = json.loads(run(*asked, "--no-subtitles")[1])
    assert plain["subtitles"] is None
    other = tmp_path / "other.vtt"
    other.write_text(vtt([(33, 35, "They cut a yellow ribbon.")]))
    named = json.loads(run(*asked, "--subtitles", other)[1])
    assert named["subtitles"] == "other.vtt"
    assert named["moments"][0]["start_s"] == 33
    code, out, _ = run("index", long_talk, "--model", "nano")
    assert code == 0
    assert out.endswith("subtitles: track 1 (English)\n")
    code, _, err = run(*asked[:-1])
    assert "chosen by the words of track 1 (English)" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--subtitles", "absent.srt"], "absent.srt can't be read (No such file or directory)"),
        (["--subtitles", ""], "--subtitles is an empty text"),
        (["--subtitles", "."], ". can't be read (Is a directory)"),
        (["--subtitles", __file__], "test_subtitles.py holds no text with times"),
        (["--subtitles", __file__, "--no-subtitles"], "--subtitles and --no-subtitles contradict each other"),
        (["--subtitle-language", "klingonisch"], "'klingonisch' is not a language"),
    ],
)
@pytest.mark.parametrize("command", ["ask", "find", "chat"])
def test_a_mistake_is_said_before_the_model_is_looked_at(
    run: Run, made_clip: Path, command: str, options: list[str], said: str
) -> None:
    words = [] if command == "chat" else ["a ribbon"]
    code, out, err = run(command, made_clip, *words, *options, "--model", "no/such-model")
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not out


def test_find_lists_what_is_said(run: Run, long_talk: Path, checkpoint: Path) -> None:
    """The tiny checkpoint brings no encoder; nano does, and what it sees comes on top."""
    find = ("find", long_talk, "the mayor's yellow ribbon", "--model", checkpoint)
    code, out, _ = run(*find)
    assert code == 0
    assert out.count("\n") == 1
    assert '"Then the mayor cut a yellow ribbon."' in out
    found = json.loads(run(*find[:-1], "nano", "--json")[1])
    assert "Then the mayor cut a yellow ribbon." in [moment["subtitle"] for moment in found["moments"]]
    code, _, err = run(*find, "--no-subtitles")
    assert code == 2
    assert "brings no encoder to search with" in err
    code, out, _ = run(*find[:2], "zebra crossing", *find[3:])
    assert (code, out) == (0, "no moment stands out\n")


def test_the_engine_finds_what_is_said_without_an_encoder(asking: VideoX2L, index: VideoIndex) -> None:
    (moment,) = asking.find(index, "old bridge closed")
    assert (moment.start_s, moment.end_s, moment.subtitle) == (3.0, 4.5, SAID[1][2])
    with pytest.raises(SettingsError, match="a dual encoder or subtitles"):
        asking.find(replace(index, subtitles=()), "old bridge closed")


def test_a_named_file_must_be_of_this_video(tmp_path: Path) -> None:
    file = tmp_path / "talk.fr.srt"
    file.write_text(srt(SAID))
    assert read_subtitles(file, 12.0).tracks[0].language == "fr"
    with pytest.raises(SettingsError, match="which ends at 0:00"):
        read_subtitles(file, 0.4)
