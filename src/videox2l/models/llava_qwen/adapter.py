"""What the adapters of `llava_qwen` checkpoints share: how they load, prompts, word table, RoPE and logits."""

from __future__ import annotations

import re
from abc import abstractmethod
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GenerationConfig, PreTrainedTokenizerBase

from videox2l.kv.cache import KVShape
from videox2l.kv.rope import Rope
from videox2l.models.base import MLLM, Turn
from videox2l.models.checkpoint import checkpoint_fingerprint, load_tokenizer, load_weights, restore_buffers
from videox2l.models.forward import Forward
from videox2l.models.generation_config import (
    end_ids,
    own_decoding,
    read_generation_config,
    trained_on_conversations,
)
from videox2l.models.llava_qwen.config import LlavaQwenConfig
from videox2l.models.llava_qwen.model import LlavaQwenModel
from videox2l.models.unknown_words import unknown_words
from videox2l.types import VideoOutline


class LlavaQwen(MLLM):
    """A checkpoint published as `llava_qwen`: a Qwen2 decoder behind a vision tower. Two families derive from it."""

    model_type = "llava_qwen"

    def __init__(
        self,
        config: LlavaQwenConfig,
        model: LlavaQwenModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        fingerprint: str,
        directory: Path | None = None,
        generation_config: GenerationConfig | None = None,
    ):
        """An adapter with all that belongs to it; only the values of its parameters may still be loaded into it.

        config: of the checkpoint. model: its `model.*`. tokenizer: its own. name: for display. fingerprint: hex digest
        of weights, configuration and tokenizer. directory: where the checkpoint lies, if it is loaded from one.
        generation_config: how its answers are decoded and end; by default greedily, and with the configuration's
        eos_token_id.
        """
        super().__init__()
        self.config, self.model, self.tokenizer = config, model, tokenizer
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.name, self.fingerprint, self.directory = name, fingerprint, directory
        self.kv_shape = KVShape(config.num_hidden_layers, config.num_key_value_heads, config.head_dim)
        self.max_positions = config.max_position_embeddings
        self.eos_ids = end_ids(generation_config, config.eos_token_id)
        self.decoding = own_decoding(generation_config)
        self.trained_on_conversations = trained_on_conversations(generation_config)
        self.eval().requires_grad_(False)

    @classmethod
    @abstractmethod
    def parts(cls, directory: Path) -> tuple[Any, ...]:
        """What a family is made of: configuration and more, read from a checkpoint directory."""

    @classmethod
    def from_directory(cls, directory: Path, device: torch.device, dtype: torch.dtype, name: str) -> Self:
        """Load a checkpoint directory.

        Raises: ModelError if it is incomplete, damaged, or asks for what this adapter does not build.
        """
        parts = cls.parts(directory)
        settings = {
            "tokenizer": load_tokenizer(directory),
            "name": name,
            "fingerprint": checkpoint_fingerprint(directory),
            "directory": directory,
            "generation_config": read_generation_config(directory),
        }
        with torch.device("meta"):
            adapter = cls(*parts, **settings)
        load_weights(adapter, directory, device, dtype)
        restore_buffers(adapter, device)
        return adapter

    @cached_property
    def rope(self) -> Rope:
        """The rotation of queries and keys, with its angles where the parameters are."""
        return Rope(self.config.head_dim, self.config.rope_theta, self.device)

    def prompt_ids(self, video: VideoOutline) -> Tensor:
        """Token ids of the system prompt and the user turn's opening."""
        return self._ids(self.config.prompt_before_video)

    def question_ids(self, question: str, history: tuple[Turn, ...] = ()) -> Tensor:
        """Token ids from the newline after the video to the assistant turn's opening."""
        turns = (*history, Turn(question, ""))
        text = fill(self.config.prompt_after_video, question=self.wording(turns[0].question))
        for last, turn in pairwise(turns):
            text += fill(self.config.prompt_next_turn, answer=last.answer, question=self.wording(turn.question))
        return self._ids(text)

    def wording(self, question: str) -> str:
        """The question as the family was trained to read it; by default as it is."""
        return question

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Words that become the unknown token, in the order they stand."""
        return unknown_words(self.tokenizer, text)

    def embed(self, ids: Tensor) -> Tensor:
        """Text token embeddings, (n, hidden)."""
        return self.model.embed_tokens(ids.to(self.device))

    def rotate(self, states: Tensor, positions: Tensor) -> Tensor:
        """Rotate (..., n, d_h) states to positions (n,)."""
        return self.rope(states, positions)

    def run(self, embeddings: Tensor, forward: Forward) -> Tensor:
        """Run embeddings through the decoder."""
        return self.model(embeddings, forward)

    def logits(self, states: Tensor) -> Tensor:
        """fp32 logits (n, vocabulary)."""
        head = self.model.embed_tokens if self.config.tie_word_embeddings else self.lm_head
        return F.linear(states, head.weight).float()

    def _ids(self, text: str) -> Tensor:
        return self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0].long()


def fill(template: str, **texts: str) -> str:
    """The template with each {name} replaced by the text of that name; a {name} inside such a text stays as it is."""
    return re.sub(r"\{(\w+)\}", lambda place: texts.get(place[1], place[0]), template)
