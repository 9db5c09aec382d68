"""What training computes is what inference computes: weights trained in one form work in the other."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from chunks import VIDEO
from PIL import Image
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from training.bank import GROUPS, frame_labels, normalise
from training.export import export_model
from training.language import FIRST_TIME_ID, VOCABULARY, LanguageModel, nano_config
from training.layout import window
from training.lessons import DENSE, draw_questions, draw_step, to_tensors
from training.muon import orthogonalise
from training.tokenizer import build_tokenizer
from training.tower import VisionModel
from videox2l.compression.summary_tokens import SummaryTokens
from videox2l.models.load import load_model
from videox2l.models.video_xl.conv_tower import ConvTowerConfig
from videox2l.synthesis.world import CORNERS, render, sample_script
from videox2l.types import ChunkPlace, Frames, VideoTokens

CHUNKS = 4


def round_to_fp16(model: torch.nn.Module) -> None:
    """Weights that fp16 holds exactly, and sums of a few of them too."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(256).round_().div_(256)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.manual_seed(0)
    model = LanguageModel(nano_config(hidden=64, layers=3, heads=4, kv_heads=2, mlp=96)).eval().requires_grad_(False)
    vision = VisionModel(ConvTowerConfig(channels=(8, 16, 16, 32)), 64).eval().requires_grad_(False)
    for name, parameter in model.decoder.named_parameters():
        if "bias" in name or "beacon" in name:  # so that nothing is zero, and summary tokens have weights of their own
            parameter.data.normal_(std=0.2)
    vision.tower.position_embedding.normal_(std=0.3)
    round_to_fp16(model)
    round_to_fp16(vision)
    directory = tmp_path_factory.mktemp("nano")
    export_model(vision, model, directory)
    return model, vision, load_model(directory, device="cpu")


@pytest.mark.parametrize(
    ("levels", "passes"),
    [
        ((1,), "two_pass"),
        ((8,), "two_pass"),
        ((2, 32), "two_pass"),
        ((2, 32), "single_pass"),
        ((2, 8, 16), "single_pass"),
    ],
)
@torch.no_grad()
def test_training_form_gives_the_states_of_inference(trained, levels, passes):
    model, _, inference = trained
    torch.manual_seed(1)
    visual = F.rms_norm(torch.randn(2, CHUNKS, 10, 4, 64), (64,))
    starts = torch.tensor([0, 437])
    table = inference.model.embed_tokens.weight
    assert torch.allclose(table, model.word_table(), atol=2e-3)  # rounded to fp16
    ids = torch.randint(5, len(VOCABULARY), (2, 3, 7))
    edges = (0, CHUNKS - 1)
    fine, coarse = levels[0], levels[1:] if passes == "single_pass" else ()
    layouts = {level: [window(fine if c in edges else level) for c in range(CHUNKS)] for level in levels}
    if coarse:
        layouts = dict.fromkeys(levels, [window(fine, coarse)] * CHUNKS)
    mixed = tuple(levels[c % len(levels)] for c in range(CHUNKS))
    selections = {(level,) * CHUNKS for level in levels} | ({mixed} if passes == "single_pass" else set())
    prompt = inference.prompt_kv(VIDEO)
    for video in range(2):
        compression = SummaryTokens(levels=levels, passes=passes, edge_ratio=fine).start(inference, prompt)
        chunks = []
        for c in range(CHUNKS):
            times = table[FIRST_TIME_ID + starts[video] + 10 * c + torch.arange(10)]
            chunks.append(compression.compress(VideoTokens.of_frames(visual[video, c] + times[:, None], 0), c in edges))
        for selection in selections:
            windows = layouts[max(selection)]
            memory = model.watch(table, visual, starts, windows)
            levels_read = [layout.ratio for layout in windows] if passes == "two_pass" else selection
            trained_states = model.read(table, memory.choose(levels_read), ids)[video, 1]
            cache = inference.new_cache(16)
            cache.append(prompt)
            for kvs, level in zip(chunks, selection, strict=True):
                cache.append(kvs[level])
            states = inference.read(ids[video, 1], cache)
            assert torch.allclose(states, trained_states, atol=1e-4), selection


@torch.no_grad()
def test_the_exported_tower_sees_what_was_trained(trained):
    model, vision, inference = trained
    script = sample_script(random.Random(0), 20)
    frames = np.stack([render(script, second, 90, 160) for second in range(4)])
    times = torch.arange(4) + 12.0
    pictures = Frames(torch.from_numpy(frames).permute(0, 3, 1, 2), times.double())
    tokens = inference.visual_tokens(pictures, ChunkPlace(VIDEO, 0, 0, True)).embeddings
    small = [np.array(Image.fromarray(frame).resize((64, 64), Image.Resampling.BICUBIC)) for frame in frames]
    expected = vision(normalise(torch.from_numpy(np.stack(small)))) + model.word_table()[FIRST_TIME_ID + 12 :][:4, None]
    assert torch.allclose(tokens, expected.flatten(0, 1), atol=2e-3)


def test_the_tokenizer_and_training_cut_text_alike(trained):
    tokenizer = trained[2].tokenizer
    assert tokenizer.get_vocab() == VOCABULARY.ids == build_tokenizer().get_vocab()
    for text in (
        "What digit is on the Red Star?",
        "at 0:42, top-left: 59:59 or 60:00",
        "Xylophone  star's 3",
    ):
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == VOCABULARY.encode(text)
    assert trained[2].question_ids("Red star?").tolist() == [*VOCABULARY.encode("red star?"), VOCABULARY.ids["<a>"]]
    assert trained[2].unknown_words("Where is the purple Okapi at 0:10?") == ("purple", "Okapi")
    assert tokenizer.decode(VOCABULARY.encode("top left")) == "top left"


def test_frame_labels_name_what_the_script_shows():
    script = sample_script(random.Random(2), 60)
    for second in range(60):
        labels = frame_labels(script, second)
        for event in script.events:
            row = labels[CORNERS.index(event.corner)]
            words = [group[index] for group, index in zip(GROUPS.values(), row, strict=True)]
            if event.visible_at(second):
                assert words[:5] == [event.colour, event.shape, str(event.digit), *event.corner.split()]


def test_targets_are_the_answers_tokens_and_nothing_else():
    script, rng = sample_script(random.Random(3), 40), random.Random(4)
    questions = draw_questions(rng, script, DENSE, 6)
    ids, targets = to_tensors([questions[:3], questions[3:]])
    assert ids.shape[:2] == (2, 3)
    for question, row, wanted in zip(questions, ids.flatten(0, 1), targets.flatten(0, 1), strict=True):
        answer = [*VOCABULARY.encode(question.answer), VOCABULARY.ids["</s>"]]
        assert wanted[wanted >= 0].tolist() == answer
        start = int((wanted >= 0).nonzero()[0])
        assert row[start] == VOCABULARY.ids["<a>"]
        assert row[start + 1 : start + len(answer)].tolist() == answer[:-1]


def test_steps_are_drawn_in_their_shares_and_pairs_are_read_three_ways():
    steps = [draw_step(random.Random(seed), 6) for seed in range(600)]
    pairs = [step for step in steps if len(step.readings) == 3]
    full = [step for step in steps if step.windows[0].ratio == 1]
    assert abs(len(pairs) / 600 - 0.6) < 0.07 and abs(len(full) / 600 - 0.15) < 0.05
    for step in pairs:
        fine, coarse, mix = step.readings
        assert set(mix) <= {fine[0], coarse[0]} and fine[0] < coarse[0]


def test_orthogonalised_matrices_have_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((3, 16, 40), (2, 40, 16), (2, 24, 24)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.3 and values.max() < 1.4
