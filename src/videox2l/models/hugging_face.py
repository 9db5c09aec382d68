"""What the adapters of transformers' own multimodal LLMs share: load one, and drive its decoder over our KV cache."""

from __future__ import annotations

import hashlib
import json
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    AutoVideoProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from videox2l.errors import ModelError
from videox2l.kv.cache import KVShape
from videox2l.models.base import DEFAULT_FRAME_TOKENS, MLLM, FrameLimits, Turn
from videox2l.models.checkpoint import bars_in_a_terminal, checkpoint_fingerprint, first_line, shard_files
from videox2l.models.decoder_rules import refuse_decoder, trained_positions
from videox2l.models.forward import Forward
from videox2l.models.generation_config import end_ids, own_decoding, trained_on_conversations
from videox2l.models.model_digest import with_quantization, with_switches
from videox2l.models.self_check import check_decoder
from videox2l.models.takeover import give_back, take_over
from videox2l.models.unknown_words import unknown_words
from videox2l.types import ChunkPlace, VideoOutline

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


class HuggingFaceMLLM(MLLM):
    """A multimodal LLM of transformers; a family's adapter says how its frames become tokens.

    video_mark: the text that stands for the video in the family's chat template.
    visual_token: the special token that the family's processor writes, again and again, for visual tokens. Texts are
        tokenized beside it, because a tokenizer may treat the start of a text otherwise (Llama's puts a space there).
    chat_template: a template to use instead of the checkpoint's.
    """

    video_mark: ClassVar[str]
    visual_token: ClassVar[str]
    chat_template: ClassVar[str | None] = None

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        video_processor: Any,
        *,
        name: str,
        fingerprint: str,
        directory: Path | None = None,
        frame_limits: FrameLimits | None = None,
    ):
        """An adapter of a loaded model, ready to use.

        The model itself is driven, not a copy. Until `release`, its decoder has our attention function and a rotary
        module that rotates nothing, so it can't be run by itself, unless it has recurrent layers, which stay as they
        are; it is in evaluation mode, and its parameters need no gradients. Several adapters may drive one model.

        model: on one device or several. tokenizer: with the chat template; it is copied. video_processor: of the
        model's family. name: for display. fingerprint: hex digest of weights, configuration, tokenizer and processor.
        directory: where the checkpoint lies, if it was loaded from one. frame_limits: by default `FrameLimits()`.
        Raises: ModelError for a decoder that can't be driven chunk by chunk, or a tokenizer without a chat template;
        SettingsError for limits that a model of this family does not have.
        """
        super().__init__()
        if frame_limits is not None:
            frame_limits.check_family(type(self))
        self.frame_limits = frame_limits or FrameLimits()
        self.name, self.directory = name, directory
        self.loaded_fingerprint = self.limited_fingerprint(fingerprint)
        self.config = model.config
        self.chunk_frames = getattr(model.config, "chunk_frames", self.chunk_frames)  # as nano-qwen's config.json says
        text_config = model.config.get_text_config()
        if self.reuses_kvs:
            refuse_decoder(text_config)
        self.model = model
        self.tokenizer, self.video_processor = copy(tokenizer), video_processor
        self.tokenizer.chat_template = self.chat_template or tokenizer.chat_template
        if not self.tokenizer.chat_template:
            raise ModelError(f"{name} has no chat template: pass an instruction-tuned checkpoint, or add one")
        self.visual_token_id = token_id(tokenizer, self.visual_token)
        self.decoder = model.get_decoder()
        heads = text_config.num_attention_heads
        head_dim = getattr(text_config, "head_dim", None) or text_config.hidden_size // heads
        kinds = getattr(text_config, "layer_types", None) or ["full_attention"] * text_config.num_hidden_layers
        self.kv_shape = KVShape(
            kinds.count("full_attention"), getattr(text_config, "num_key_value_heads", None) or heads, head_dim
        )
        self.max_positions = trained_positions(text_config)
        self.eos_ids = end_ids(model.generation_config, tokenizer.eos_token_id)
        self.decoding = own_decoding(model.generation_config)
        self.trained_on_conversations = trained_on_conversations(model.generation_config)
        if not self.reuses_kvs:
            self.eval().requires_grad_(False)
            return
        self.rope = take_over(model, self.decoder, head_dim).to(self.device)
        self.eval().requires_grad_(False)
        try:
            check_decoder(self, self.decoder, self.rope)
        except BaseException:
            self.release()
            raise

    @classmethod
    def from_directory(
        cls,
        directory: Path,
        device: torch.device,
        dtype: torch.dtype,
        name: str,
        *,
        device_map: Any = None,
        quantization_config: Any = None,
        frame_limits: FrameLimits | None = None,
    ) -> Self:
        """Load a checkpoint directory.

        device_map, quantization_config, frame_limits: as for `load_model`; with a device_map, `device` is not used.
        Raises: ModelError if it is incomplete, damaged, has a decoder that can't be driven chunk by chunk, or needs
        what is not installed.
        """
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        if cls.reuses_kvs:
            refuse_decoder(config.get_text_config())
        shard_files(directory)
        quantized = quantization_config or getattr(config, "quantization_config", None)
        if device_map is None and quantized and device.type != "cpu":
            device_map = {"": device}  # quantized weights are laid out for where they are loaded to
        try:
            with bars_in_a_terminal():
                model, loading = AutoModelForImageTextToText.from_pretrained(
                    directory,
                    dtype=dtype,
                    device_map=device_map,
                    quantization_config=quantization_config,
                    output_loading_info=True,
                    trust_remote_code=False,
                )
            if device_map is None:
                model.to(device)
        except ImportError as error:  # it says what to install
            raise ModelError(f"{directory} can't be loaded here: {first_line(error)}") from error
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{directory} does not fit on {device} ({first_line(error)}): pass a smaller or a quantized model, or "
                'device_map="auto"'
            ) from error
        except Exception as error:  # transformers raises what its parts raise
            given = device_map is not None or quantization_config is not None
            mend = "check device_map and quantization_config" if given else "download it again"
            raise ModelError(f"{directory} does not load ({first_line(error)}): {mend}") from error
        if missing := sorted(loading["missing_keys"]):
            raise ModelError(
                f"checkpoint {directory} lacks {len(missing)} parameters ({', '.join(missing[:3])}): it is incomplete "
                "or of another architecture"
            )
        if not any((directory / name).is_file() for name in TOKENIZER_FILES):
            raise ModelError(
                f"{directory} has no tokenizer ({', '.join(TOKENIZER_FILES)}): download the whole checkpoint"
            )
        try:
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
            video_processor = AutoVideoProcessor.from_pretrained(directory, trust_remote_code=False)
        except Exception as error:  # missing files raise many things
            raise ModelError(
                f"{directory} has no tokenizer and video processor that load ({first_line(error)}): download the "
                "whole checkpoint"
            ) from error
        tokenizer.chat_template = processor_chat_template(directory) or tokenizer.chat_template
        return cls(
            model,
            tokenizer,
            video_processor,
            name=name,
            fingerprint=with_quantization(checkpoint_fingerprint(directory), quantization_config),
            directory=directory,
            frame_limits=frame_limits,
        )

    def release(self) -> PreTrainedModel:
        """Give the model back as it was before any adapter drove it.

        Its rotary module, attention function, modes and gradients are those it had. No adapter can drive it afterwards.
        """
        give_back(self.decoder)
        return self.model

    @property
    def device(self) -> torch.device:
        """Where text is embedded and caches are kept; layers and the vision encoder may be elsewhere."""
        embeddings = self.model.get_input_embeddings()
        hook = getattr(embeddings, "_hf_hook", None)  # accelerate's, which brings weights kept elsewhere when they run
        place = getattr(hook, "execution_device", None)
        return torch.device(embeddings.weight.device if place is None else place)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of text embeddings, of the KVs and of the store; weights may be quantized."""
        return self.model.get_input_embeddings().weight.dtype

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """Hex digest of what KVs depend on; it changes when adapters of the model (LoRA) are switched or merged."""
        return with_switches(self.loaded_fingerprint, self.model)

    def limited_fingerprint(self, fingerprint: str) -> str:
        """A checkpoint's fingerprint with what else the KVs depend on: how large its frames are."""
        if not self.resizes_frames:
            return fingerprint
        limits = self.frame_limits
        told = f"{fingerprint} {DEFAULT_FRAME_TOKENS} {limits.max_pixels} {limits.min_pixels}"
        return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()

    def prompt_ids(self, video: VideoOutline) -> Tensor:
        """Token ids of the chat template up to the first frame's text.

        A tokenizer may join the end of the prompt and the beginning of that text in one token, which is then the
        frame's.
        """
        prompt = self.prompt_text(video)
        ids, continued = self.opening_ids(prompt), self.opening_ids(prompt + self.first_frame_text(video))
        length = min(len(ids), len(continued))
        same = (ids[:length] == continued[:length]).long().cumprod(0)
        return ids[: int(same.sum())]

    def frame_text_ids(self, text: str, frame: int, place: ChunkPlace) -> Tensor:
        """Token ids of the text before a frame of a chunk, as in one text with the prompt.

        frame: 0 is the chunk's first.
        """
        if place.first_frame + frame > 0:
            return self.ids(text)
        return self.opening_ids(self.prompt_text(place.video) + text)[len(self.prompt_ids(place.video)) :]

    def question_ids(self, question: str, history: tuple[Turn, ...] = ()) -> Tensor:
        """Token ids of the chat template from the video on."""
        text = self.conversation((*history, Turn(question, ""))).partition(self.video_mark)[2]
        return self.ids(self.after_video() + text)

    def before_video(self, video: VideoOutline) -> str:
        """What the family's processor writes between the chat template and the first frame's text."""
        return ""

    def first_frame_text(self, video: VideoOutline) -> str:
        """The text before the first frame, or how it begins."""
        return ""

    def after_video(self) -> str:
        """What the family's processor writes behind the last frame."""
        return ""

    def prompt_text(self, video: VideoOutline) -> str:
        """The text before the first frame's."""
        return self.conversation(()).partition(self.video_mark)[0] + self.before_video(video)

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

    def opening_ids(self, text: str) -> Tensor:
        """Token ids of a text that opens the prompt and goes up to visual tokens, (n,)."""
        bos = self.tokenizer.bos_token
        opens = not (bos and text.startswith(bos))  # with what the tokenizer puts before a text
        ids = self.tokenizer(text + self.visual_token, add_special_tokens=opens)["input_ids"]
        return torch.tensor(ids[: ids.index(self.visual_token_id)], dtype=torch.long)

    def ids(self, text: str) -> Tensor:
        """Token ids of a text that follows visual tokens or another special token, (n,)."""
        ids = self.tokenizer(self.visual_token + text, add_special_tokens=False)["input_ids"]
        return torch.tensor(ids[ids.index(self.visual_token_id) + 1 :], dtype=torch.long)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Words that become the unknown token; none with most tokenizers, which can write anything."""
        return unknown_words(self.tokenizer, text)

    def embed(self, ids: Tensor) -> Tensor:
        """Text token embeddings, (n, hidden)."""
        return self.model.get_input_embeddings()(ids.to(self.device))

    def rotate(self, states: Tensor, positions: Tensor) -> Tensor:
        """Rotate (..., n, d_h) states to positions, by the model's own rotary module."""
        cos, sin = self.rope(states, positions[..., None, :])  # (n,) -> (1, n); (3, n) -> (3, 1, n)
        first, second = states.chunk(2, dim=-1)
        return (states * cos[0] + torch.cat([-second, first], dim=-1) * sin[0]).to(states.dtype)

    def run(self, embeddings: Tensor, forward: Forward) -> Tensor:
        """Run embeddings through the decoder's own layers."""
        forward.start()
        inputs = self.decoder_inputs(embeddings[None], forward)
        states = self.decoder(**inputs, forward=forward, use_cache=False).last_hidden_state
        forward.finish()
        return states[0].to(self.device)

    def decoder_inputs(self, embeddings: Tensor, forward: Forward) -> dict[str, Any]:
        """What the decoder's forward is called with for embeddings (1, n, hidden)."""
        return {"inputs_embeds": embeddings}

    def logits(self, states: Tensor) -> Tensor:
        """fp32 logits (n, vocabulary)."""
        return self.model.get_output_embeddings()(states).float().to(self.device)


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """The id of a special token. Raises: ModelError if the tokenizer has no such token."""
    ids = tokenizer(token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ModelError(f"the tokenizer has no token {token}: it is not the one the model was published with")
    return ids[0]


def processor_chat_template(directory: Path) -> str | None:
    """The chat template that older checkpoints keep in a file of their processor's."""
    file = directory / "chat_template.json"
    return json.loads(file.read_text()).get("chat_template") if file.is_file() else None
