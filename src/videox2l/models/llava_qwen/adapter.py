"""What the adapters of `llava_qwen` checkpoints share: prompts, word table, RoPE and logits around their decoder."""

from __future__ import annotations

import re
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from videox2l.kv.rope import Rope
from videox2l.models.base import MLLM, Turn
from videox2l.models.forward import Forward
from videox2l.models.llava_qwen.config import LlavaQwenConfig
from videox2l.models.llava_qwen.model import LlavaQwenModel
from videox2l.types import VideoOutline


class LlavaQwen(MLLM):
    """A Qwen2 decoder of ours behind a vision tower, with official parameter names.

    model: the decoder, called as `run` is; it holds embed_tokens. lm_head: where the word table is not tied.
    """

    model_type = "llava_qwen"
    config: LlavaQwenConfig
    model: LlavaQwenModel
    lm_head: nn.Linear
    rope: Rope

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
        unknown = self.tokenizer.unk_token_id
        if unknown is None:
            return ()
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return tuple(dict.fromkeys(text[start:end] for token, (start, end) in spans if token == unknown))

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
