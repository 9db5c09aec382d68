"""What must always hold of the whole path: identity, determinism, temporal order, clear errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import plain_qwen2
from chunks import VIDEO
from transformers import AutoModelForImageTextToText, AutoProcessor
from videos import write_video

from videox2l import (
    FrameArray,
    Generation,
    Manual,
    OneLevel,
    Sampling,
    SummaryTokens,
    TopK,
    VideoIndex,
    VideoX2L,
)
from videox2l.compression.base import Compressor
from videox2l.compression.keydiff import KeyDiff
from videox2l.compression.pool import Pool
from videox2l.errors import ModelError, QuestionError, SettingsError, VideoError, VideoX2LError
from videox2l.index.builder import IndexProgress
from videox2l.index.reload import chunk_spans, load_cache
from videox2l.models.base import Turn
from videox2l.models.load import load_model
from videox2l.models.video_xl_2.adapter import VideoXL2
from videox2l.oracles.random import RandomOracle
from videox2l.store import DiskStore
from videox2l.testing.tiny_models import build
from videox2l.types import ChunkPlace
from videox2l.video import open_video

SHORT = Generation(max_new_tokens=8)


# 1. identity


@pytest.mark.parametrize("compressor", [SummaryTokens((1,)), Pool((1,), context="full", positions="original")], ids=str)
def test_without_compression_it_is_the_models_own_single_forward(
    engine: VideoX2L, checkpoint: Path, clip: Path, compressor: Compressor
) -> None:
    question = "What is it?"
    identity = replace(engine, compressor=compressor)
    index = identity.index(clip)
    model, ids = identity.model, identity.model.question_ids(question)
    with torch.no_grad():
        place = ChunkPlace(VIDEO, 0, 0, True)
        video = torch.cat([model.visual_tokens(frames, place).embeddings for frames in open_video(clip).chunks(3)])
        inputs = torch.cat([model.embed(model.prompt_ids(VIDEO)), video, model.embed(ids)])
        expected = plain_qwen2(checkpoint)(inputs_embeds=inputs[None]).logits[0]
        cache = load_cache(model, index, (1,) * len(index.entries))
        logits = model.logits(model.read(ids, cache))
    torch.testing.assert_close(logits, expected[-len(ids) :], rtol=0, atol=1e-4)
    answer = identity.ask(index, question, generation=Generation(max_new_tokens=1))
    assert answer.text == model.tokenizer.decode(expected[-1].argmax(), skip_special_tokens=True).strip()
    assert answer.cache_tokens == answer.full_cache_tokens == len(inputs) - len(ids)


# 3. determinism


def interrupt_after(chunks: int) -> Callable[[IndexProgress], None]:
    def progress(now: IndexProgress) -> None:
        if now.chunks == chunks:
            raise KeyboardInterrupt

    return progress


def content(directory: Path) -> dict[str, bytes]:
    return {file.relative_to(directory).as_posix(): file.read_bytes() for file in directory.rglob("*.*")}


@pytest.mark.parametrize(
    "compressor",
    [SummaryTokens((2, 7, 32)), SummaryTokens(passes="two_pass"), SummaryTokens(context_tokens=400)],
    ids=str,
)
def test_an_interrupted_index_resumes_to_the_same_bytes(
    engine: VideoX2L, clip: Path, tmp_path: Path, compressor: SummaryTokens
) -> None:
    whole = replace(engine, compressor=compressor, selector=OneLevel(), store=DiskStore(tmp_path / "whole"))
    resumed = replace(whole, store=DiskStore(tmp_path / "resumed"))
    expected = whole.index(clip)
    for chunks in (1, 2, len(expected.entries) - 1):
        with pytest.raises(KeyboardInterrupt):
            resumed.index(clip, progress=interrupt_after(chunks))
    seen: list[IndexProgress] = []
    index = resumed.index(clip, progress=seen.append)
    assert [now.chunks for now in seen] == [len(expected.entries) - 1, len(expected.entries)]
    assert content(tmp_path / "resumed") == content(tmp_path / "whole")
    assert seen[-1].tokens == sum(entry.raw_tokens for entry in expected.entries)
    assert index.entries == expected.entries


def test_explicit_chunk_sizes_resume_too(engine: VideoX2L, made_clip: Path, tmp_path: Path) -> None:
    sized = replace(engine, chunk_frames=(1, 2, 3), store=DiskStore(tmp_path / "resumed"))
    with pytest.raises(KeyboardInterrupt):
        sized.index(made_clip, progress=interrupt_after(2))
    index = sized.index(made_clip)
    assert [chunk.frames for chunk in index.chunks] == [1, 2, 3, 3, 3]
    replace(sized, store=DiskStore(tmp_path / "whole")).index(made_clip)
    assert content(tmp_path / "resumed") == content(tmp_path / "whole")


ANOTHER_PROCESS = """
import json, sys
from videox2l import Generation, VideoX2L
checkpoint, clip, known, fresh = sys.argv[1:]
engine = VideoX2L.from_pretrained(checkpoint, device="cpu", store=known, chunk_frames=2)
found = engine.index(clip)
answers = [engine.ask(found, "Who?", generation=Generation(max_new_tokens=8)).text]
made = VideoX2L.from_pretrained(checkpoint, device="cpu", store=fresh, chunk_frames=2).index(clip)
print(json.dumps({"reused": [found.reused, made.reused], "answers": answers}))
"""


def test_ram_disk_and_another_process_give_the_same_bytes_and_answer(
    engine: VideoX2L, made_clip: Path, checkpoint: Path, tmp_path: Path
) -> None:
    on_disk = replace(engine, store=DiskStore(tmp_path / "known"))
    answers = [of.ask(of.index(made_clip), "Who?", generation=SHORT).text for of in (engine, on_disk, on_disk)]
    paths = map(str, (checkpoint, made_clip, tmp_path / "known", tmp_path / "fresh"))
    ran = subprocess.run(
        [sys.executable, "-c", ANOTHER_PROCESS, *paths], capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    there = json.loads(ran.stdout)
    assert there["reused"] == [True, False]
    assert set(answers) == set(there["answers"])
    assert len(set(answers)) == 1
    assert content(tmp_path / "fresh") == content(tmp_path / "known")


# 5. temporal order


@pytest.mark.parametrize("chosen", [(), (3,), (4, 1), (3, 2, 1), (1, 2, 3, 4)])
def test_chunks_enter_the_cache_in_time_order_whatever_the_selection(
    engine: VideoX2L, made_clip: Path, chosen: tuple[int, ...]
) -> None:
    index, model = engine.index(made_clip), engine.model
    levels = tuple(2 if chunk in {0, *chosen, 5} else 32 for chunk in range(6))
    spans = chunk_spans(index, levels)
    cache = load_cache(model, index, levels)
    assert spans[0].start == len(index.prompt)
    assert [span.start for span in spans[1:]] == [span.stop for span in spans[:-1]]
    assert spans[-1].stop == cache.length == index.tokens(levels)
    for chunk, span in enumerate(spans):
        kv = index.kv(chunk, levels[chunk])
        placed = model.rotate(kv.keys, torch.arange(span.start, span.stop))
        torch.testing.assert_close(cache.keys[:, :, span], placed, rtol=0, atol=1e-5)
        assert torch.equal(cache.values[:, :, span], kv.values)
    selector = Manual(chosen) if chosen else OneLevel(fine_edges=True)
    answer = engine.ask(index, "what?", selector=selector, generation=SHORT)
    assert [chunk.index for chunk in answer.chunks] == list(range(6))
    assert [chunk.level for chunk in answer.chunks] == [2, *(levels[1:5]), 2]
    assert answer.cache_tokens == index.tokens(levels)


def test_chunks_tile_the_sampled_video(engine: VideoX2L, clip: Path) -> None:
    index = engine.index(clip)
    chunks = index.chunks
    assert chunks[0].start_s == 0
    assert [chunk.start_s for chunk in chunks[1:]] == [chunk.end_s for chunk in chunks[:-1]]
    assert chunks[-1].end_s == pytest.approx(index.duration_s)
    assert [chunk.first_frame for chunk in chunks[1:]] == [chunk.end_frame for chunk in chunks[:-1]]


# answering


def test_one_index_answers_many_questions_from_different_chunks(engine: VideoX2L, made_clip: Path) -> None:
    index = engine.index(made_clip)
    questions = [f"Question {number}?" for number in range(6)]
    answers = [
        engine.ask(index, question, oracle="random", selector=TopK(1), generation=SHORT) for question in questions
    ]
    again = [engine.ask(index, question, oracle="random", selector=TopK(1), generation=SHORT) for question in questions]
    assert [answer.text for answer in answers] == [answer.text for answer in again]
    selected = {tuple(chunk.level for chunk in answer.chunks) for answer in answers}
    assert len(selected) > 1
    assert all(sum(chunk.level == 2 for chunk in answer.chunks) == 3 for answer in answers)  # one and both edges
    assert {answer.question for answer in answers} == set(questions)


def test_streamed_pieces_make_the_answer(engine: VideoX2L, made_clip: Path) -> None:
    index = engine.index(made_clip)
    stream = engine.stream(index, "what?", generation=Generation(max_new_tokens=24))
    pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces).strip() == stream.answer.text
    assert stream.answer.text == engine.ask(index, "what?", generation=Generation(max_new_tokens=24)).text
    assert stream.answer.timings_s.keys() == {"relevance", "load", "first_token", "decode"}
    assert all(seconds >= 0 for seconds in stream.answer.timings_s.values())


def test_a_chat_keeps_earlier_turns_in_the_context_and_selects_anew(engine: VideoX2L, made_clip: Path) -> None:
    """The second turn's answer is that of the cache of its own selection behind which both turns are laid."""
    oracle = RandomOracle(seed=1)
    engine = replace(engine, oracle=oracle, selector=TopK(1))
    index, model = engine.index(made_clip), engine.model
    chat = engine.chat(index)
    first, second = (chat.ask(question, generation=SHORT) for question in ("Who is it?", "And then?"))
    assert [turn.question for turn in chat.turns] == ["Who is it?", "And then?"]
    assert [chunk.level for chunk in first.chunks] != [chunk.level for chunk in second.chunks]
    assert [chunk.score for chunk in second.chunks] == oracle.score(model, index, "And then?").chunks.tolist()

    levels = tuple(chunk.level for chunk in second.chunks)
    with torch.no_grad():
        cache = load_cache(model, index, levels)
        opening = model.question_ids("Who is it?")
        both = model.question_ids("And then?", (Turn("Who is it?", first.text),))
        assert both[: len(opening)].tolist() == opening.tolist()
        assert first.text in model.tokenizer.decode(both)
        model.read(opening, cache)
        turns = model.logits(model.read(both[len(opening) :], cache))
        at_once = model.logits(model.read(both, load_cache(model, index, levels)))
        torch.testing.assert_close(turns, at_once[len(opening) :], rtol=0, atol=1e-4)
        answer: list[int] = []
        logits = turns
        for _ in range(8):
            answer.append(int(logits[-1].argmax()))
            logits = model.logits(model.read(torch.tensor(answer[-1:]), cache))
    assert second.text == model.tokenizer.decode(answer, skip_special_tokens=True).strip()
    alone = engine.ask(index, "And then?", generation=SHORT)
    assert alone.text != second.text


def test_a_model_not_trained_on_conversations_is_asked_each_turn_alone_and_says_so_once(
    checkpoint: Path, made_clip: Path, tmp_path: Path
) -> None:
    directory = shutil.copytree(checkpoint, tmp_path / "monologue")
    (directory / "generation_config.json").write_text('{"trained_on_conversations": false}')
    engine = VideoX2L(load_model(directory, device="cpu"), chunk_frames=2)
    index, questions = engine.index(made_clip), ("Who is it?", "And then?", "And now?")
    chat = engine.chat(index)
    answers = [chat.ask(question, generation=SHORT) for question in questions]
    assert [turn.question for turn in chat.turns] == list(questions)
    alone = [engine.ask(index, question, generation=SHORT) for question in questions]
    assert [answer.text for answer in answers] == [answer.text for answer in alone]
    said = [[note for note in answer.notes if "was not trained on conversations" in note] for answer in answers]
    assert [len(notes) for notes in said] == [0, 1, 0]


def test_a_streamed_chat_keeps_its_turns_too(engine: VideoX2L, made_clip: Path) -> None:
    index = engine.index(made_clip)
    asked, streamed = engine.chat(index), engine.chat(index)
    expected = [asked.ask(question, generation=SHORT).text for question in ("a?", "b?")]
    assert ["".join(streamed.stream(question, generation=SHORT)).strip() for question in ("a?", "b?")] == expected
    assert streamed.turns == asked.turns


# 6. no silent fallback


def index_of(engine: VideoX2L, path: Path) -> VideoIndex:
    return engine.index(path)


def not_a_video(engine: VideoX2L, directory: Path) -> None:
    (directory / "notes.mp4").write_text("dear diary")
    engine.index(directory / "notes.mp4")


def audio_only(engine: VideoX2L, directory: Path) -> None:
    import av

    with av.open(str(directory / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    engine.index(directory / "sound.mp4")


def blank(frames: int) -> FrameArray:
    return FrameArray(np.zeros((frames, 48, 48, 3), np.uint8), np.arange(frames))


def long_question(engine: VideoX2L) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.model, "max_positions", 400)
        ask(engine, "why? " * 100)


def ask(engine: VideoX2L, question: str, **settings: object) -> None:
    engine.ask(engine.index(blank(6), Sampling(frames=6)), question, **settings)


BAD_INPUT: dict[str, tuple[type[VideoX2LError], str, Callable[[VideoX2L, Path], object]]] = {
    "missing file": (VideoError, "gone.mp4", lambda engine, at: engine.index(at / "gone.mp4")),
    "not a video": (VideoError, "notes.mp4", not_a_video),
    "audio only": (VideoError, "sound.mp4", audio_only),
    "zero frames": (VideoError, "0", lambda engine, at: engine.index(blank(0))),
    "no source": (VideoError, "int", lambda engine, at: engine.index(7)),
    "empty folder": (VideoError, "", lambda engine, at: engine.index(at)),
    "range past the end": (VideoError, "99", lambda engine, at: engine.index(blank(3), Sampling(start_s=99))),
    "two counts": (SettingsError, "fps", lambda engine, at: engine.index(blank(3), Sampling(frames=2, fps=1))),
    "unknown oracle": (SettingsError, "'tarot'", lambda engine, at: replace(engine, oracle="tarot")),
    "unknown oracle of a question": (SettingsError, "'tarot'", lambda engine, at: ask(engine, "a?", oracle="tarot")),
    "contrastive without encoder": (SettingsError, "encoder", lambda engine, at: replace(engine, oracle="contrastive")),
    "manual without moments": (SettingsError, "moments", lambda engine, at: ask(engine, "a?", selector="manual")),
    "chunk out of range": (SettingsError, "9", lambda engine, at: ask(engine, "a?", selector=Manual((9,)))),
    "levels not increasing": (SettingsError, "(32, 2)", lambda engine, at: SummaryTokens((32, 2))),
    "level above the chunk": (
        SettingsError,
        "512",
        lambda engine, at: replace(engine, compressor=SummaryTokens((2, 512))).index(blank(6)),
    ),
    "negative k": (SettingsError, "-1", lambda engine, at: replace(engine, selector=TopK(-1))),
    "unknown selector": (SettingsError, "'best'", lambda engine, at: replace(engine, selector="best")),
    "unknown selector of a question": (SettingsError, "'best'", lambda engine, at: ask(engine, "a?", selector="best")),
    "no chunk": (SettingsError, "0", lambda engine, at: replace(engine, chunk_frames=0)),
    "empty chunk list": (SettingsError, "()", lambda engine, at: replace(engine, chunk_frames=())),
    "empty question": (QuestionError, "empty", lambda engine, at: ask(engine, " \n")),
    "long question": (QuestionError, "tokens", lambda engine, at: long_question(engine)),
    "no answer": (SettingsError, "0", lambda engine, at: Generation(max_new_tokens=0)),
    "empty model directory": (ModelError, "config.json", lambda engine, at: load_model(at)),
    "unknown device": (
        SettingsError,
        "'abacus'",
        lambda engine, at: VideoX2L.from_pretrained(at / "m", device="abacus"),
    ),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_is_one_clear_sentence(
    what: str, engine: VideoX2L, tmp_path: Path, checkpoint: Path, recwarn: pytest.WarningsRecorder
) -> None:
    kind, named, provoke = BAD_INPUT[what]
    if what == "unknown device":
        (tmp_path / "m").symlink_to(checkpoint)
    with pytest.raises(kind) as error:
        provoke(engine, tmp_path)
    message = str(error.value)
    assert type(error.value) is kind
    assert named in message
    assert "\n" not in message.strip()
    assert 20 < len(message) < 400


def test_a_question_that_can_not_fit_is_refused_before_it_is_run(
    engine: VideoX2L, made_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = engine.index(made_clip)
    monkeypatch.setattr(engine.model, "max_positions", 700)
    monkeypatch.setattr(engine.model, "run", lambda *_, **__: pytest.fail("the question was run"))
    with pytest.raises(QuestionError):
        engine.ask(index, "why? " * 200)


def test_a_question_fits_whatever_the_cache_and_a_longer_context_refuses_no_more(
    engine: VideoX2L, made_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, question = engine.index(made_clip), "why? " * 10
    fits = []
    for limit in range(20, 1200, 20):
        monkeypatch.setattr(engine.model, "max_positions", limit)
        try:
            engine.stream(index, question)
            fits.append(True)
        except QuestionError:
            fits.append(False)
    assert fits == sorted(fits)
    assert set(fits) == {False, True}


def test_a_cache_beyond_the_trained_context_is_noted(
    engine: VideoX2L, made_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = engine.index(made_clip)
    held = engine.ask(index, "a?", selector=OneLevel(), generation=SHORT)
    tokens = held.cache_tokens + len(engine.model.question_ids("a?"))
    for limit, noted in ((tokens, False), (tokens - 1, True)):
        monkeypatch.setattr(engine.model, "max_positions", limit)
        notes = engine.ask(index, "a?", selector=OneLevel(), generation=SHORT).notes
        assert any(f"trained on {limit}" in note for note in notes) is noted


def test_a_transformers_model_in_memory_is_asked_like_its_checkpoint(made_clip: Path, tmp_path: Path) -> None:
    directory = build("qwen3_vl", tmp_path)
    few = KeyDiff((1, 2))  # a tiny model has few visual tokens
    from_disk = VideoX2L.from_pretrained(directory, device="cpu", compressor=few, chunk_frames=4)
    held = AutoModelForImageTextToText.from_pretrained(directory)
    in_memory = VideoX2L(held, few, chunk_frames=4, processor=AutoProcessor.from_pretrained(directory))
    answers = [each.ask(each.index(made_clip), "Who?", generation=SHORT) for each in (from_disk, in_memory)]
    assert answers[0].text == answers[1].text != ""
    assert replace(in_memory, selector="even").model is in_memory.model


def test_an_index_of_another_model_or_dtype_is_refused(
    engine: VideoX2L, made_clip: Path, checkpoint: Path, video_xl_2: VideoXL2
) -> None:
    index = engine.index(made_clip)
    with pytest.raises(SettingsError, match="another model"):
        VideoX2L(video_xl_2).ask(index, "a?")
    half = VideoX2L(load_model(checkpoint, "cpu", "bfloat16"), chunk_frames=2)
    with pytest.raises(SettingsError, match="float32"):
        half.ask(index, "a?")


def test_an_unknown_model_names_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"^[^\n]*'nobody/nothing'[^\n]+$"):
        load_model("nobody/nothing")


def test_more_frames_than_there_are_uses_all_and_says_so(engine: VideoX2L, made_clip: Path) -> None:
    index = engine.index(made_clip, Sampling(frames=1000))
    assert index.chunks[-1].end_frame == 48
    (note,) = index.notes
    assert "1000" in note
    assert "48" in note
    assert note in engine.ask(index, "a?", generation=SHORT).notes


def test_a_truncated_video_is_used_as_far_as_it_decodes(engine: VideoX2L, made_clip: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "whole.mp4", 240, fps=20, container_options={"movflags": "faststart"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    index = engine.index(path)
    assert 0 < index.chunks[-1].end_s < 12
    assert any("truncated" in note for note in index.notes)


def test_k_beyond_the_number_of_chunks_reads_all_in_detail(engine: VideoX2L, made_clip: Path) -> None:
    answer = engine.ask(engine.index(made_clip), "a?", selector=TopK(99), generation=SHORT)
    assert {chunk.level for chunk in answer.chunks} == {2}


def test_one_frame_is_a_video(engine: VideoX2L) -> None:
    index = engine.index(blank(1))
    assert [entry.tokens for entry in index.entries] == [{2: 72, 4: 36, 32: 4}]
    assert engine.ask(index, "a?", generation=SHORT).chunks[0].level == 2


def test_room_for_an_answer_is_made_as_it_comes(engine: VideoX2L, made_clip: Path) -> None:
    assert next(engine.stream(made_clip, "What?", generation=Generation(max_new_tokens=10**20)))
