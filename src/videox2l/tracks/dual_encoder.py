"""Encoders that put frames and text into one space; frames are embedded when the video is indexed."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from videox2l.errors import ModelError
from videox2l.models.checkpoint import Checkpoint, bars_in_a_terminal, checkpoint_fingerprint
from videox2l.types import Frames, VideoTokens

FRAMES_PER_CALL = 16


class DualEncoder(ABC):
    """Embeds frames and text.

    fingerprint: hex digest of its weights and configuration. needs_tokens: whether it embeds the MLLM's visual tokens.
    """

    fingerprint: str
    needs_tokens: ClassVar[bool] = False

    @abstractmethod
    def embed_frames(self, frames: Frames, tokens: VideoTokens | None = None) -> Tensor:
        """Normalised embeddings of a chunk: (T, d) of its frames, or of its visual tokens (visual tokens, d).

        tokens: the chunk as the MLLM sees it; given if `needs_tokens`.
        """

    @abstractmethod
    def embed_text(self, text: str) -> Tensor:
        """Normalised embedding (d,) of a question."""

    def match(self, cosines: Tensor) -> Tensor | None:
        """The probability that a frame shows what a text names, of their cosine; None where that was not calibrated."""
        return None

    def readable(self, text: str) -> str:
        """As much of a text as `embed_text` reads."""
        return text


class HubDualEncoder(DualEncoder):
    """Any CLIP, SigLIP or SigLIP2 of transformers, by hub id or directory; one embedding per frame.

    A text longer than the text tower takes is cut after the last whole word that fits.
    """

    def __init__(self, model: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        from transformers import AutoModel, AutoProcessor  # seconds that only a dual encoder needs

        checkpoint = find_encoder(model)
        kind = checkpoint.config["model_type"]
        directory = checkpoint.files()
        self.fingerprint = checkpoint_fingerprint(directory)
        with bars_in_a_terminal():
            self.model = AutoModel.from_pretrained(directory, dtype=dtype, trust_remote_code=False).to(device).eval()
        self.processor = AutoProcessor.from_pretrained(directory, trust_remote_code=False)
        self.device, self.dtype = torch.device(device), dtype
        text_config = self.model.config.text_config
        self.max_text_tokens = int(text_config.max_position_embeddings)
        self.padding = "longest" if kind == "clip" else "max_length"  # SigLIP was trained on padded text

    @torch.no_grad()
    def embed_frames(self, frames: Frames, tokens: VideoTokens | None = None) -> Tensor:
        """One embedding per frame, (T, d)."""
        embeddings = []
        for pixels in frames.pixels.split(FRAMES_PER_CALL):
            inputs = self.processor(images=list(pixels), return_tensors="pt")
            inputs = {name: value.to(self.device) for name, value in inputs.items()}
            inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
            embeddings.append(pooled(self.model.get_image_features(**inputs)))
        return F.normalize(torch.cat(embeddings).float(), dim=-1)

    @torch.no_grad()
    def embed_text(self, text: str) -> Tensor:
        """The question's embedding, (d,)."""
        inputs = self.processor.tokenizer(
            self.readable(text),
            padding=self.padding,
            truncation=True,
            max_length=self.max_text_tokens,
            return_tensors="pt",
        )
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        return F.normalize(pooled(self.model.get_text_features(**inputs)).float(), dim=-1)[0]

    def readable(self, text: str) -> str:
        """The text up to the last whole word that the text tower takes."""
        words = re.findall(r"\S+", text)
        while len(words) > 1 and len(self.processor.tokenizer(" ".join(words))["input_ids"]) > self.max_text_tokens:
            words.pop()
        return " ".join(words)


def find_encoder(model: str | Path) -> Checkpoint:
    """The checkpoint of a hub id or directory. Raises: ModelError if there is none, or it is not a dual encoder."""
    checkpoint = Checkpoint.find(model)
    kind = checkpoint.config.get("model_type")
    if kind not in {"clip", "siglip", "siglip2"}:
        raise ModelError(f"{model} is a {kind} and not a dual encoder: pass a clip, siglip or siglip2 checkpoint")
    return checkpoint


def pooled(output: Tensor | object) -> Tensor:
    """The pooled features of transformers before and from version 5, which wraps them in an output object."""
    return output if isinstance(output, Tensor) else output.pooler_output  # type: ignore[attr-defined]
