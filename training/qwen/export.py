"""From training checkpoints to the checkpoint directory that ships, as transformers itself saves one; fp16."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from training.bank import PIXEL_MEAN, PIXEL_STD
from training.qwen.language import LanguageModel
from training.qwen.tokenizer import TENTHS, VOCABULARY, build_tokenizer
from training.qwen.tower import VisionModel

FRAME_PIXELS = 22 * 16 * 16
"""Pixels of a frame at most: 64 x 64 of a square one, 64 x 80 at 4:3, 48 x 96 at 16:9."""
MOST_FRAMES = 7200
CHUNK_FRAMES = 16
"""Frames in a chunk by default: 128 visual tokens, of which a ratio of 32 keeps 4."""


def build_model(vision: VisionModel, model: LanguageModel) -> Qwen3VLForConditionalGeneration:
    """The class's own model with the trained weights, in fp32."""
    marks = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    marks |= {"vision_start_token_id": "vision_start", "vision_end_token_id": "vision_end"}
    config = Qwen3VLConfig(
        text_config=model.config.to_dict(),
        vision_config=vision.config.to_dict(),
        tie_word_embeddings=True,
        chunk_frames=CHUNK_FRAMES,
        **{key: VOCABULARY.ids[f"<|{name}|>"] for key, name in marks.items()},
    )
    whole = Qwen3VLForConditionalGeneration(config)
    weights: dict[str, Tensor] = {f"model.visual.{name}": value for name, value in vision.visual.state_dict().items()}
    weights |= {f"model.language_model.{name}": value for name, value in model.decoder.state_dict().items()}
    weights["model.language_model.embed_tokens.weight"] = weights["lm_head.weight"] = shipped_table(model)
    whole.load_state_dict(weights)
    whole.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=VOCABULARY.ids["<|im_end|>"], pad_token_id=VOCABULARY.ids["<pad>"]
    )
    return whole.eval()


@torch.no_grad()
def shipped_table(model: LanguageModel) -> Tensor:
    """The word table; the tenths of seconds that training never wrote are read as the half second it did."""
    table = model.word_table().clone()
    for tenth in TENTHS:
        if tenth not in (".0 seconds>", ".5 seconds>"):
            table[VOCABULARY.ids[tenth]] = table[VOCABULARY.ids[".5 seconds>"]]
    return table


def export_model(vision: VisionModel, model: LanguageModel, directory: Path) -> None:
    """Write the model, its generation settings, tokenizer, processor and chat template."""
    patch = vision.config.patch_size
    means = {"image_mean": [PIXEL_MEAN] * 3, "image_std": [PIXEL_STD] * 3}
    tokenizer = build_tokenizer()
    build_model(vision, model).half().save_pretrained(directory)
    Qwen3VLProcessor(
        Qwen2VLImageProcessor(patch_size=patch, size={"shortest_edge": 32 * 32, "longest_edge": FRAME_PIXELS}, **means),
        tokenizer,
        Qwen3VLVideoProcessor(
            patch_size=patch,
            size={"shortest_edge": 32 * 32, "longest_edge": MOST_FRAMES * FRAME_PIXELS},
            max_frames=MOST_FRAMES,
            fps=1,
            cap_pixels_per_frame=True,
            max_video_tokens=FRAME_PIXELS // (2 * patch) ** 2,
            **means,
        ),
        chat_template=tokenizer.chat_template,
    ).save_pretrained(directory)
