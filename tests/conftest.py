"""Fixtures: a tiny random Video-XL checkpoint with the published code's golden weights, and a byte-level tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from videox2l import VideoX2L
from videox2l.models import load_model

GOLDEN = Path(__file__).parent / "golden" / "videox22l"


def save_byte_tokenizer(directory: Path) -> None:
    """A tokenizer with a token per byte and Qwen2's chat tokens: it can write anything, in few ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={character: index for index, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"]
    ).save_pretrained(directory)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Video-XL checkpoint directory: 3 layers, 144 tokens a frame, random weights."""
    directory = tmp_path_factory.mktemp("video-xl")
    for name in ("config.json", "vision_config.json", "preprocessor_config.json"):
        shutil.copy(GOLDEN / name, directory)
    shutil.copy(GOLDEN / "weights.safetensors", directory / "model.safetensors")
    save_byte_tokenizer(directory)
    return directory


@pytest.fixture(scope="session")
def video_xl(checkpoint: Path):
    """The checkpoint as a loaded model."""
    torch.manual_seed(0)
    return load_model(checkpoint, device="cpu")


@pytest.fixture
def engine(video_xl) -> VideoX2L:
    """An engine on the tiny checkpoint: chunks of 2 frames (288 visual tokens), indexes in memory."""
    return VideoX2L(video_xl, chunk_frames=2)
