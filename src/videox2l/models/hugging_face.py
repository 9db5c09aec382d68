"""What the adapters of transformers' own multimodal LLMs share: load one, and drive its decoder over our KV cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    AutoVideoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from videox2l.errors import ModelError
from videox2l.kv.cache import KVShape
from videox2l.models.base import MLLM, Turn
from videox2l.models.cached_attention import ATTENTION, NoRotation
from videox2l.models.checkpoint import checkpoint_fingerprint, shard_files
from videox2l.models.forward import Forward
from videox2l.types import VideoOutline

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


class HuggingFaceMLLM(MLLM):
    """A multimodal LLM of transformers. A family's adapter says how its frames become tokens.

    video_mark: the text that stands for the video in the family's chat template. chat_template: instead of the
    checkpoint's.
    """

    video_mark: ClassVar[str]
    chat_template: ClassVar[str | None] = None

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, video_processor: Any):
        super().__init__()
        self.config = model.config
        text_config = model.config.get_text_config()
        refuse_decoder(text_config)
        self.model = model
        self.tokenizer, self.video_processor = tokenizer, video_processor
        self.decoder = model.get_decoder()
        heads = text_config.num_attention_heads
        head_dim = getattr(text_config, "head_dim", None) or text_config.hidden_size // heads
        self.kv_shape = KVShape(
            text_config.num_hidden_layers, getattr(text_config, "num_key_value_heads", None) or heads, head_dim
        )
        self.max_positions = text_config.max_position_embeddings
        self.rope = self.decoder.rotary_emb
        self.decoder.rotary_emb = NoRotation(head_dim)
        self.decoder.set_attn_implementation(ATTENTION)
        self.eos_ids = end_ids(model, tokenizer)

    @classmethod
    def from_directory(cls, directory: Path, device: torch.device, dtype: torch.dtype, name: str) -> Self:
        """Load a checkpoint directory.

        Raises: ModelError if it is incomplete, damaged, or has a decoder that can't be driven chunk by chunk.
        """
        config = AutoConfig.from_pretrained(directory)
        refuse_decoder(config.get_text_config())
        shard_files(directory)
        try:
            model, loading = AutoModelForImageTextToText.from_pretrained(
                directory, dtype=dtype, output_loading_info=True
            )
        except Exception as error:  # transformers raises what its parts raise
            raise ModelError(f"{directory} does not load ({first_line(error)}): download it again") from error
        if missing := sorted(loading["missing_keys"]):
            raise ModelError(
                f"checkpoint {directory} lacks {len(missing)} parameters ({', '.join(missing[:3])}): it is incomplete "
                "or of another architecture"
            )
        if not any((directory / name).is_file() for name in TOKENIZER_FILES):
            raise ModelError(f"{directory} has no tokenizer ({', '.join(TOKENIZER_FILES)}): download all of it")
        try:
            tokenizer = AutoTokenizer.from_pretrained(directory)
            video_processor = AutoVideoProcessor.from_pretrained(directory)
        except Exception as error:  # missing files raise many things
            raise ModelError(
                f"{directory} has no tokenizer and video processor that load ({first_line(error)}): download all of it"
            ) from error
        template = cls.chat_template or tokenizer.chat_template or processor_chat_template(directory)
        tokenizer.chat_template = template
        if not tokenizer.chat_template:
            raise ModelError(f"{directory} has no chat template: pass an instruction-tuned checkpoint, or add one")
        adapter = cls(model.to(device), tokenizer, video_processor)
        adapter.name, adapter.fingerprint = name, checkpoint_fingerprint(directory)
        adapter.directory = directory
        return adapter.eval().requires_grad_(False)

    def prompt_ids(self, video: VideoOutline) -> Tensor:
        """Token ids of the chat template up to the video."""
        text = self.conversation(()).partition(self.video_mark)[0] + self.before_video(video)
        bos = self.tokenizer.bos_token
        return self.ids(text, opens=not (bos and text.startswith(bos)))

    def question_ids(self, question: str, history: tuple[Turn, ...] = ()) -> Tensor:
        """Token ids of the chat template from the video on."""
        text = self.conversation((*history, Turn(question, ""))).partition(self.video_mark)[2]
        return self.ids(self.after_video() + text)

    def before_video(self, video: VideoOutline) -> str:
        """What the family's processor writes between the chat template and the first frame."""
        return ""

    def after_video(self) -> str:
        """What the family's processor writes behind the last frame."""
        return ""

    def conversation(self, turns: tuple[Turn, ...]) -> str:
        """The chat template's text of a conversation about a video, up to the answer to the last question."""
        turns = turns or (Turn("", ""),)
        messages: list[dict[str, Any]] = []
        for turn in turns:
            content: list[dict[str, str]] = [{"type": "text", "text": turn.question}]
            messages.append({"role": "user", "content": content})
            messages.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
        messages[0]["content"].insert(0, {"type": "video"})
        text = self.tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        if self.video_mark not in text:
            raise ModelError(f"the chat template of {self.name} has no place for a video ({self.video_mark})")
        return text

    def ids(self, text: str, opens: bool = False) -> Tensor:
        """Token ids of a piece of the prompt, (n,).

        opens: whether it is the first piece, which begins with what the tokenizer puts before a text.
        """
        return self.tokenizer(text, add_special_tokens=opens, return_tensors="pt")["input_ids"][0].long()

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """None: these models' tokenizers can write anything."""
        return ()

    def embed(self, ids: Tensor) -> Tensor:
        """Text token embeddings, (n, hidden)."""
        return self.model.get_input_embeddings()(ids.to(self.device))

    def rotate(self, states: Tensor, positions: Tensor) -> Tensor:
        """Rotate (..., n, d_h) states to positions, by the model's own rotary module."""
        cos, sin = self.rope(states, positions[..., None, :])  # (n,) -> (1, n); (3, n) -> (3, 1, n)
        first, second = states.chunk(2, dim=-1)
        return states * cos[0] + torch.cat([-second, first], dim=-1) * sin[0]

    def run(self, embeddings: Tensor, forward: Forward) -> Tensor:
        """Run embeddings through the decoder's own layers."""
        forward.start()
        inputs = self.decoder_inputs(embeddings[None], forward)
        states = self.decoder(**inputs, forward=forward, use_cache=False).last_hidden_state
        forward.finish()
        return states[0]

    def decoder_inputs(self, embeddings: Tensor, forward: Forward) -> dict[str, Any]:
        """What the decoder's forward is called with for embeddings (1, n, hidden)."""
        return {"inputs_embeds": embeddings}

    def logits(self, states: Tensor) -> Tensor:
        """fp32 logits (n, vocabulary)."""
        return self.model.get_output_embeddings()(states).float()


def refuse_decoder(config: PreTrainedConfig) -> None:
    """Raises: ModelError for a decoder whose KVs can't be kept, moved and dropped token by token."""
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        raise ModelError(
            f"the decoder ({config.model_type}) has {', '.join(sorted(kinds))} layers, which do not attend to every "
            "earlier token, so chunks' KVs can't be re-loaded into it: pass a model with full attention in every layer"
        )
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope not in ("default", "linear", "yarn", "llama3"):
        raise ModelError(
            f"the decoder ({config.model_type}) has {rope} RoPE, whose angles change with the length of the text: "
            "pass a model with default, linear, yarn or llama3 RoPE"
        )


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids that end an answer: those of the generation configuration, else the tokenizer's."""
    ids = model.generation_config.eos_token_id if model.generation_config else None
    ids = tokenizer.eos_token_id if ids is None else ids
    return tuple(ids) if isinstance(ids, list) else () if ids is None else (ids,)


def processor_chat_template(directory: Path) -> str | None:
    """The chat template that older checkpoints keep in a file of their processor's."""
    file = directory / "chat_template.json"
    return json.loads(file.read_text()).get("chat_template") if file.is_file() else None


def first_line(error: Exception) -> str:
    """An error's first line, without its full stop."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
