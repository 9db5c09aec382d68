"""nano-qwen in training form computes what transformers' own class and processor do."""

import random
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[1]))

from training.bank import frame_labels
from training.lessons import IGNORE, draw_questions
from training.qwen.export import CHUNK_FRAMES, build_model, export_model, shipped_table
from training.qwen.language import LanguageModel, text_config
from training.qwen.lessons import (
    ALL,
    conversation_ids,
    draw_conclusion,
    draw_conversations,
    draw_gaps,
    pack,
    turn_of,
    written,
)
from training.qwen.tokenizer import VOCABULARY, build_tokenizer
from training.qwen.tower import MOMENTS, VisionModel, encode, pair_labels, token_labels, vision_config
from videox2l.models.base import Turn
from videox2l.models.load import load_model
from videox2l.synthesis.questions import ASK, clock, final_answer
from videox2l.synthesis.world import COLOURS, CORNERS, SHAPES, render, sample_script
from videox2l.testing.reference import Reference
from videox2l.testing.tiny_models.qwen3_vl import published_prompt
from videox2l.types import ChunkPlace, Frames, VideoOutline

HIDDEN = 64
QUESTION = "What digit is on the red star?"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.manual_seed(0)
    vision = VisionModel(vision_config(HIDDEN, depth=3, width=48, heads=2, mlp=64)).eval().requires_grad_(False)
    model = LanguageModel(text_config(HIDDEN, layers=3, heads=4, mlp=96)).eval().requires_grad_(False)
    for name, parameter in [*model.named_parameters(), *vision.named_parameters()]:
        if "norm" in name:
            parameter.data.normal_(1.0, 0.2)
    for parameter in (*vision.parameters(), *model.parameters()):
        parameter.data.copy_(parameter.half().float())
    directory = tmp_path_factory.mktemp("nano-qwen")
    export_model(vision, model, directory)
    return vision, model, directory


@pytest.fixture(scope="module")
def video():
    script = sample_script(random.Random(0), 20)
    frames = np.stack([render(script, second, 64, 64) for second in range(8)])
    return torch.from_numpy(frames)  # (8, 64, 64, 3)


@pytest.fixture
def fp32(monkeypatch):
    """Products in fp32, as inference on a CPU has them."""
    off = torch.autocast("cpu", enabled=False)
    monkeypatch.setattr("training.qwen.tower.autocast", lambda: off)


@torch.no_grad()
def test_training_form_gives_the_states_of_the_class(trained, video, fp32):
    vision, model, directory = trained
    reference = Reference(directory, video.permute(0, 3, 1, 2), QUESTION, published_prompt)
    expected = reference.logits()
    table = reference.model.get_input_embeddings().weight
    assert torch.allclose(table, shipped_table(model), atol=2e-3)  # sums of fp16 rows, rounded to fp16
    visual = encode(vision, video.unflatten(0, (-1, 2)))[None]
    memory = model.watch(table, visual, torch.tensor([0]), (4, 4))
    ids, targets, segments, offsets = pack(
        [[conversation_ids([("where?", "", "top left")]), conversation_ids([(QUESTION, "", "7")])]]
    )
    states = model.read(table, memory, ids, segments, offsets)
    last = (targets != IGNORE).nonzero()[3, 1]  # behind the three targets of the first conversation
    logits = states[0, last] @ table.T
    assert torch.allclose(logits, expected, atol=1e-3)
    assert logits.std() > 0.1


@torch.no_grad()
def test_gaps_move_chunks_and_questions_apart_as_positions_do(trained, video, fp32):
    vision, model, _ = trained
    table, visual = model.word_table(), encode(vision, video.unflatten(0, (-1, 2)))[None]
    ids, _, segments, offsets = pack([[conversation_ids([(QUESTION, "", "7")])]])
    states = []
    for gaps in ([0, 0, 0, 0], [900, 0, 0, 0], [0, 0, 900, 0]):
        memory = model.watch(table, visual, torch.tensor([0]), (4, 4), gaps)
        assert memory.next_position == 2 + 4 * (3 + 4 + 1) + sum(gaps)
        states.append(model.read(table, memory, ids, segments, offsets))
    assert not torch.allclose(states[0], states[1], atol=1e-3)
    assert not torch.allclose(states[1], states[2], atol=1e-3)


@torch.no_grad()
def test_the_adapter_sees_what_was_trained_at_every_frame_size(trained, fp32):
    vision, _, directory = trained
    model = load_model(directory, device="cpu")
    assert model.chunk_frames == CHUNK_FRAMES
    script = sample_script(random.Random(1), 20)
    for (height, width), (tall, wide), tokens in (
        ((160, 160), (64, 64), 16),
        ((240, 320), (64, 80), 20),
        ((180, 320), (48, 96), 18),
    ):
        frames = np.stack([render(script, second, height, width) for second in range(4)])
        pictures = Frames(torch.from_numpy(frames).permute(0, 3, 1, 2), torch.arange(4).double())
        place = ChunkPlace(VideoOutline(100, 100.0), 0, 2, False)
        seen = model.visual_tokens(pictures, place).visual
        assert len(seen) == 2 * tokens == 4 * model.tokens_per_frame(height, width, 100)
        small = [np.array(Image.fromarray(frame).resize((wide, tall), Image.Resampling.BICUBIC)) for frame in frames]
        expected = encode(vision, torch.from_numpy(np.stack(small)).unflatten(0, (-1, 2)))[:, 0].flatten(0, 1)
        assert (seen - expected).norm() < 0.05 * expected.norm()


def test_the_tokenizer_and_training_cut_text_alike(trained):
    tokenizer = build_tokenizer()
    assert tokenizer.get_vocab() == VOCABULARY.ids
    for text in (
        "What is at the Top left at <97.0 seconds>?",
        "0:42 1:13 so red star",
        "I don't know. Xylophone 59:59",
    ):
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == VOCABULARY.encode(text)
    assert len(VOCABULARY.encode("<3599.5 seconds>")) == 2
    assert tokenizer.decode(VOCABULARY.encode("I don't know.")) == "i don't know."
    for answer in ("I don't know", "0:42 green star 7 so 7"):
        ids = VOCABULARY.encode(answer)
        texts = [tokenizer.decode(ids[:length]) for length in range(1, len(ids) + 1)]
        assert texts[-1] == answer.lower()  # as it is streamed, piece by piece
        assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


@torch.no_grad()
def test_visual_tokens_are_asked_for_the_time_that_stands_before_them(trained):
    _, model, _ = trained
    starts = torch.tensor([0, 97])
    times = starts[:, None] + 2 * torch.arange(3)
    clocks = model.word_table()[VOCABULARY.ids["0:00"] :][times]  # (2, 3, hidden)
    telling = clocks[:, :, None].expand(-1, -1, 4, -1) * 20
    other = clocks.flip(0)[:, :, None].expand(-1, -1, 4, -1) * 20
    table = model.word_table()
    assert model.time_loss(table, telling, starts) < model.time_loss(table, other, starts)


def test_conversations_are_those_of_the_chat_template(trained):
    model = load_model(trained[2], device="cpu")
    turns = [("Where is the red star?", "", "top left"), ("Is there a blue heart?", "", "no"), (QUESTION, "", "7")]
    ids, targets = conversation_ids(turns)
    history = tuple(Turn(question, answer) for question, _, answer in turns[:-1])
    asked = model.question_ids(QUESTION, history).tolist()
    assert ids == [*asked, VOCABULARY.ids["7"]]
    end = VOCABULARY.ids["<|im_end|>"]
    answers = [wanted for wanted in targets if wanted != IGNORE]
    assert answers == [*VOCABULARY.encode("top left"), end, *VOCABULARY.encode("no"), end, *VOCABULARY.encode("7"), end]
    following = [*ids[1:], end]
    assert all(wanted in (IGNORE, token) for wanted, token in zip(targets, following, strict=True))


def test_labels_of_pairs_say_in_which_frame_a_needle_is():
    script = sample_script(random.Random(2), 60)
    labels = np.stack([frame_labels(script, second) for second in range(60)])
    pairs = pair_labels(torch.from_numpy(labels).unflatten(0, (-1, 2)))
    compared = 0
    for event in script.events:
        for second in range(int(event.start_s), int(event.start_s + event.duration_s)):
            row = pairs[second // 2, CORNERS.index(event.corner)]
            assert row[2] == 1 + event.digit
            assert MOMENTS[row[-1]] in ("both frames", ("earlier frame", "later frame")[second % 2])
            compared += 1
    assert compared > 20
    vision = VisionModel(vision_config(HIDDEN, depth=3, width=48, heads=2, mlp=64))
    wide = token_labels(pairs, vision.grid(torch.zeros(1, 2, 64, 80, 3)))
    assert (wide[:, 2::5] == IGNORE).all() and (wide[:, 0] == pairs[:, 0]).all()


def test_what_is_drawn_keeps_to_its_bounds():
    rng = random.Random(0)
    gaps = [draw_gaps(rng, 50, 5) for _ in range(200)]
    assert 60 < sum(not any(each) for each in gaps) < 140
    assert max(map(sum, gaps)) > 6000 and all(len(each) == 50 for each in gaps)
    script = sample_script(rng, 60)
    questions = draw_questions(rng, script, ALL, 90)
    conversations = draw_conversations(rng, questions)
    assert [question for turns in conversations for question in turns] == questions
    assert max(map(len, conversations)) == 6 and min(map(len, conversations)) == 1


def test_conclusions_follow_from_the_reasons_given_and_they_alone_are_trained():
    rng, seen = random.Random(0), set()
    for _ in range(200):
        question = draw_conclusion(rng)
        reasons = re.findall(r"[\d:]+", re.split(" first | larger ", question.reasons)[0])
        if re.search("many|count|number of", question.text.lower()):
            assert question.answer == str(len(reasons))
            seen.add("count")
        else:
            named = re.findall(f"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})", question.text.lower())
            values = [[int(part) for part in reason.split(":")] for reason in reasons]
            wanted = (min if ":" in question.reasons else max)(values)
            assert question.answer == " ".join(named[values.index(wanted)])
            seen.add("order" if ":" in question.reasons else "larger")
        text, given, answer = turn_of(rng, question)
        _, targets = conversation_ids([(text, given, answer)])
        end = VOCABULARY.ids["<|im_end|>"]
        assert [wanted for wanted in targets if wanted != IGNORE] == [*VOCABULARY.encode(answer), end]
        assert re.findall(r"[\d:]+", given) == reasons and f"{given}{answer}" == question.spoken
        assert final_answer(answer) == question.answer and len(answer.split()) <= 7
    assert seen == {"count", "order", "larger"}


@torch.no_grad()
def test_conclusions_are_read_without_a_video_as_the_class_reads_text(trained):
    vision, model, _ = trained
    turns = [[turn_of(random.Random(seed), draw_conclusion(random.Random(seed)))] for seed in range(3)]
    ids, _, segments, offsets = pack([[conversation_ids(conversation)] for conversation in turns])
    table = shipped_table(model)
    logits = model.read(table, model.nothing_watched(3), ids, segments, offsets) @ table.T
    whole = build_model(vision, model)
    for row in range(3):
        own = segments[row] == 0
        assert_close(logits[row, own], whole(ids[row : row + 1, own]).logits[0], atol=2e-3, rtol=2e-3)


def test_what_comes_after_a_time_is_the_earliest_of_its_group():
    rng, groups = random.Random(3), set()
    script = sample_script(rng, 100)
    assert all(event.start_s.is_integer() for event in script.events)
    for _ in range(200):
        if (question := ASK["after"](script, rng)) is None:
            continue
        group, time = question.text.lower().removesuffix("?").split(" after ")
        minutes, seconds = map(int, time.split(":"))
        words = {word.removesuffix("es" if word == "crosses" else "s") for word in group.split()} - {"shape"}
        later = [e for e in script.events if words <= set(e.kind) and e.start_s > 60 * minutes + seconds]
        first = min(later, key=lambda event: event.start_s)
        assert question.answer == f"{first.name} {first.digit} {clock(first.start_s)}"
        groups.add(group)
    assert "shapes" in groups and len(groups) > 8


def test_times_are_asked_for_in_both_ways():
    forms = {written(random.Random(seed), "What is in the top left corner at 1:37?") for seed in range(40)}
    assert forms == {
        "What is in the top left corner at 1:37?",
        "What is in the top left corner at <97.0 seconds>?",
    }


def test_the_truth_is_the_end_of_what_models_are_trained_to_say():
    rng = random.Random(5)
    script = sample_script(rng, 60)
    for task, ask in ASK.items():
        if (question := ask(script, rng)) is not None:
            assert final_answer(question.spoken) == question.answer, task
