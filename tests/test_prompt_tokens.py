"""Texts around and among the frames become the very tokens that the family's own processor makes of one text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from videox2l.errors import ModelError
from videox2l.models.base import Turn
from videox2l.models.hugging_face import HuggingFaceMLLM
from videox2l.models.load import load_model
from videox2l.testing import tiny_models
from videox2l.testing.conformance import Subject, assert_identity, noise
from videox2l.testing.reference import Reference
from videox2l.testing.tiny_models.parts import MERGES
from videox2l.types import ChunkPlace, Frames, VideoOutline

FRAMES = 6
OUTLINE = VideoOutline(FRAMES, float(FRAMES), 0.0)
HISTORY = (Turn("What is {question}?", "A {answer} of {question} and <video>, {{ messages }} {% endif %}"),)


def use_llama_tokenizer(directory: Path) -> Path:
    """Give a tiny checkpoint a tokenizer like Llama's, of the same size and with the same special tokens.

    It puts a space (`▁`) before a text, but before none that stands behind a special token, joins newlines with what
    follows them, and takes unknown characters as bytes.
    """
    merges = [("▁", "F"), ("\n", "F"), ("\n", "<"), ("\n", "\n"), ("\n", "▁")]
    words = ["▁", "\n", "F", "<", *map("".join, merges)]
    size = 256 + len(MERGES)
    vocabulary = [f"<0x{byte:02X}>" for byte in range(size - len(words))] + words  # the last bytes are in no text
    tokens = Tokenizer(BPE({word: place for place, word in enumerate(vocabulary)}, merges, byte_fallback=True))
    tokens.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokens.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    file = directory / "tokenizer.json"
    made = json.loads(tokens.to_str())
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {part: made[part] for part in ("model", "pre_tokenizer", "decoder")})
    )
    return directory


@pytest.fixture(scope="module", params=sorted(tiny_models.FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=["qwen", "llama"])
def directory(family: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny_models.build(family, tmp_path_factory.mktemp(family))
    return made if request.param == "qwen" else use_llama_tokenizer(made)


@pytest.fixture(scope="module")
def model(directory: Path) -> HuggingFaceMLLM:
    model = load_model(directory, device="cpu")
    assert isinstance(model, HuggingFaceMLLM)
    return model


def text_ids(model: HuggingFaceMLLM, pixels: torch.Tensor, chunk_frames: int) -> list[int]:
    """Ids of the text among the frames, read off its embeddings."""
    table = model.model.get_input_embeddings().weight
    next_position, ids = len(model.prompt_ids(OUTLINE)), []
    for first in range(0, FRAMES, chunk_frames):
        frames = Frames(pixels[first : first + chunk_frames], torch.arange(first, first + chunk_frames).double())
        place = ChunkPlace(OUTLINE, first, next_position, first + chunk_frames == FRAMES)
        tokens = model.visual_tokens(frames, place)
        next_position = int(tokens.positions.max()) + 1
        for row in tokens.embeddings[tokens.is_text]:
            ids += (table == row).all(1).nonzero()[:, 0].tolist()  # nothing for a learned newline
    return ids


@pytest.mark.parametrize("question", ["What turns red?", " two  spaces\n\nand lines", "", "\nFrame from <2>"])
@pytest.mark.parametrize("chunk_frames", [2, 6])
@torch.no_grad()
def test_every_text_is_tokenized_as_in_the_whole(family, directory, model, question, chunk_frames):
    pixels = noise(FRAMES)
    published = Reference(directory, pixels, question, tiny_models.published_prompt(family))
    expected = published.inputs["input_ids"][0].tolist()
    ours = [*model.prompt_ids(OUTLINE).tolist(), *text_ids(model, pixels, chunk_frames)]
    ours += model.question_ids(question).tolist()
    assert ours == [token for token in expected if token != model.visual_token_id]


def test_earlier_turns_are_taken_as_they_are(model):
    """Neither braces nor a video's mark in an earlier turn take the place of anything."""
    text = model.tokenizer.decode(model.question_ids("And then?", HISTORY))
    for turn in HISTORY:
        assert text.count(turn.question) == text.count(turn.answer) == 1
    assert text.count("And then?") == 1
    alone = model.tokenizer.decode(model.question_ids("And then?"))
    assert text.endswith(alone[alone.index("And then?") :])


def test_llava_next_video_with_llamas_tokenizer_is_itself(tmp_path):
    directory = use_llama_tokenizer(tiny_models.build("llava_next_video", tmp_path))
    assert_identity(Subject(directory), noise(FRAMES), 4)


def test_a_tokenizer_without_the_visual_token_is_refused(tmp_path):
    directory = tiny_models.build("llava_next_video", tmp_path)
    for file in directory.glob("tokenizer*"):
        file.write_text(file.read_text().replace("<video>", "<film>"))
    with pytest.raises(ModelError, match="no token <video>"):
        load_model(directory, device="cpu")
