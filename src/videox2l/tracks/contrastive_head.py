"""A small dual encoder trained beside a checkpoint: the MLLM's visual tokens against a bag of words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videox2l.errors import ModelError
from videox2l.models.checkpoint import LoadedEmbedding, checkpoint_fingerprint, load_weights
from videox2l.tracks.dual_encoder import DualEncoder
from videox2l.types import Frames, VideoTokens

if TYPE_CHECKING:
    from videox2l.models.base import MLLM


class HeadModule(nn.Module):
    """The head's parameters: an MLP for visual tokens (n, hidden) -> (n, d), a vector (d,) for every text token."""

    def __init__(self, hidden_size: int, inner_size: int, embedding_size: int, vocab_size: int):
        super().__init__()
        self.image = nn.Sequential(nn.Linear(hidden_size, inner_size), nn.GELU(), nn.Linear(inner_size, embedding_size))
        self.text = LoadedEmbedding(vocab_size, embedding_size)


class ContrastiveHead(DualEncoder):
    """Embeds each of a chunk's visual tokens, and a question as the sum of its tokens' vectors."""

    needs_tokens = True
    FOLDER = "contrastive"
    """Of a checkpoint's directory, where the head is."""

    def __init__(self, module: HeadModule, model: MLLM, fingerprint: str, calibration: tuple[float, float] | None):
        self.module, self.tokenizer, self.device = module, model.tokenizer, model.device
        self.fingerprint, self.calibration = fingerprint, calibration

    @classmethod
    def of(cls, model: MLLM) -> ContrastiveHead | None:
        """The head in the contrastive/ directory of a model's checkpoint; None if there is none."""
        home = None if model.directory is None else model.directory / cls.FOLDER
        return cls.from_directory(home, model) if home is not None and home.is_dir() else None

    @staticmethod
    def is_at(source: str | Path) -> bool:
        """Whether a directory holds a contrastive head."""
        file = Path(source) / "config.json"
        return file.is_file() and json.loads(file.read_text()).get("model_type") == "contrastive_head"

    @classmethod
    def from_directory(cls, home: Path, model: MLLM) -> ContrastiveHead:
        """The head in a directory, for the model it was trained on.

        Raises: ModelError if it was trained on visual tokens or words of another model.
        """
        config = json.loads((home / "config.json").read_text())
        own = {"hidden_size": model.embed(torch.zeros(1).long()).shape[-1], "vocab_size": len(model.tokenizer)}
        for name, value in own.items():
            if config[name] != value:
                raise ModelError(
                    f"the contrastive head in {home} was trained for a {name} of {config[name]}, and {model.name} has "
                    f"{value}: train one for this model"
                )
        with torch.device("meta"):
            module = HeadModule(
                config["hidden_size"], config["inner_size"], config["embedding_size"], config["vocab_size"]
            )
        load_weights(module, home, model.device, torch.float32)
        fingerprint = f"{checkpoint_fingerprint(home)} on {model.fingerprint} {model.dtype}"
        match = config.get("match")
        calibration = (match["scale"], match["bias"]) if match else None
        return cls(module.eval().requires_grad_(False), model, fingerprint, calibration)

    def embed_frames(self, frames: Frames, tokens: VideoTokens | None = None) -> Tensor:
        """An embedding of each visual token, (visual tokens, d)."""
        assert tokens is not None
        return F.normalize(self.module.image(tokens.visual.float()), dim=-1)

    def match(self, cosines: Tensor) -> Tensor | None:
        """Logistic in the cosine, as fitted to held-out questions when the head was trained."""
        if self.calibration is None:
            return None
        scale, bias = self.calibration
        return torch.sigmoid(scale * cosines + bias)

    def embed_text(self, text: str) -> Tensor:
        """The question's embedding, (d,)."""
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        return F.normalize(self.module.text(ids.long().to(self.device)).sum(dim=0), dim=-1)
