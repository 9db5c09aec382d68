"""A checkpoint as transformers itself runs it: its own class, its own processor, the same frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.video_utils import VideoMetadata

from videox2l import FrameArray, VideoX2L
from videox2l.compression.pool import Pool
from videox2l.index.reload import load_cache
from videox2l.video import Sampling

QUESTION = "What turns red?"


def edit_config(directory: Path, **text: Any) -> Path:
    """Change values of a checkpoint's text_config; None takes one out."""
    file = directory / "config.json"
    config = json.loads(file.read_text())
    config["text_config"] = {key: value for key, value in (config["text_config"] | text).items() if value is not None}
    file.write_text(json.dumps(config))
    return directory


def noise(frames: int, height: int = 72, width: int = 88) -> Tensor:
    """Blurred noise, uint8 (frames, 3, height, width)."""
    small = torch.rand(frames, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(1))
    return (torch.nn.functional.interpolate(small, (height, width), mode="bilinear") * 255).to(torch.uint8)


def processor_inputs(directory: Path, pixels: Tensor, question: str = QUESTION, **settings: Any) -> dict[str, Tensor]:
    """What the checkpoint's processor makes of a video of a frame a second and a question."""
    processor = AutoProcessor.from_pretrained(directory)
    content = [{"type": "video"}, {"type": "text", "text": question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    if type(processor).__name__ == "Qwen3VLProcessor":
        # the one the model was published with has the frames' vision marks alone; 5.23 leaves a pair around them all
        text = text.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>")
    times = list(range(len(pixels)))
    metadata = VideoMetadata(total_num_frames=len(times), fps=1.0, duration=float(len(times)), frames_indices=times)
    bos = processor.tokenizer.bos_token
    return processor(
        text=[text],
        videos=[pixels],
        video_metadata=[metadata],
        do_sample_frames=False,
        add_special_tokens=not (bos and text.startswith(bos)),
        return_tensors="pt",
        **settings,
    )


@torch.no_grad()
def published_logits(directory: Path, inputs: dict[str, Tensor]) -> Tensor:
    """The logits of the answer's first token."""
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
    return model(**inputs).logits[0, -1]


@torch.no_grad()
def our_logits(model: Any, pixels: Tensor, question: str = QUESTION) -> Tensor:
    """The same by the engine, every KV kept at its original position, in chunks of 4 frames."""
    engine = VideoX2L(model, Pool(levels=(1,), context="full", positions="original"), chunk_frames=4)
    index = engine.index(FrameArray(pixels, [float(second) for second in range(len(pixels))]), Sampling(fps=1))
    cache = load_cache(model, index, (1,) * len(index.entries))
    return model.logits(model.read(model.question_ids(question), cache)[-1:])[0]
