"""Tiny random checkpoints of transformers' own classes, saved whole: model, tokenizer, processor, chat template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaNextImageProcessor,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaNextVideoProcessor,
    LlavaNextVideoVideoProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

WORDS = r"""[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
MERGES = [("\u010a", "\u010a"), ("s", "e"), ("\u0120", "t"), ("F", "r")]  # a double newline is one token, as in Qwen2

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}VIDEO{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

QWEN = CHATML.replace("VIDEO", "<|vision_start|><|video_pad|><|vision_end|>")

TEXT = dict(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=4096,
    initializer_range=0.3,  # large enough that attention is not flat
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=None,
)


def tokenizer(template: str, special: list[str], **named: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE that splits words as Qwen2's does, with a few merges and a family's special tokens."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) + [first + second for first, second in MERGES]
    tokens = Tokenizer(BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=MERGES))
    tokens.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokens.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>", *special]
    tokens.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokens, eos_token="<|im_end|>", pad_token="<|im_end|>", extra_special_tokens=named
    )
    fast.chat_template = template
    return fast


def llava_onevision(directory: Path) -> None:
    """LLaVA-OneVision: SigLIP, a Qwen2 decoder."""
    words = tokenizer(CHATML.replace("VIDEO", "<video>\n"), ["<image>", "<video>"])
    vision = dict(
        model_type="siglip_vision_model",
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        vision_use_head=False,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=dict(model_type="qwen2", vocab_size=len(words), **TEXT),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        vision_feature_layer=-1,
        image_grid_pinpoints=[[56, 56]],
    )
    size = {"height": 56, "width": 56}
    save(
        directory,
        LlavaOnevisionForConditionalGeneration(config),
        LlavaOnevisionProcessor(
            LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[56, 56]]),
            words,
            LlavaOnevisionVideoProcessor(size=size),
            num_image_tokens=16,
            vision_feature_select_strategy="full",
            chat_template=words.chat_template,
        ),
    )


def qwen2_5_vl(directory: Path) -> None:
    """Qwen2.5-VL: a vision tower with windows, M-RoPE."""
    words = tokenizer(QWEN, ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"])
    config = Qwen2_5_VLConfig(
        vision_config=dict(
            depth=2,
            hidden_size=32,
            intermediate_size=32,
            num_heads=2,
            out_hidden_size=32,
            patch_size=14,
            spatial_merge_size=2,
            temporal_patch_size=2,
            window_size=56,
            fullatt_block_indexes=[1],
            tokens_per_second=2,
        ),
        text_config=dict(
            vocab_size=len(words),
            rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 1, 1]),
            **TEXT,
        ),
        **qwen_ids(words),
    )
    size = {"shortest_edge": 56 * 56, "longest_edge": 84 * 112}
    save(
        directory,
        Qwen2_5_VLForConditionalGeneration(config),
        Qwen2_5_VLProcessor(
            Qwen2VLImageProcessor(size=size), words, Qwen2VLVideoProcessor(size=size), chat_template=words.chat_template
        ),
    )


def qwen2_vl(directory: Path) -> None:
    """Qwen2-VL: M-RoPE whose time advances by one a pair of frames."""
    words = tokenizer(QWEN, ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"])
    config = Qwen2VLConfig(
        vision_config=dict(
            depth=2,
            embed_dim=32,
            hidden_size=32,
            num_heads=2,
            patch_size=14,
            spatial_merge_size=2,
            temporal_patch_size=2,
        ),
        text_config=dict(
            vocab_size=len(words),
            rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 1, 1]),
            **TEXT,
        ),
        **qwen_ids(words),
    )
    size = {"shortest_edge": 56 * 56, "longest_edge": 84 * 112}
    save(
        directory,
        Qwen2VLForConditionalGeneration(config),
        Qwen2VLProcessor(
            Qwen2VLImageProcessor(size=size), words, Qwen2VLVideoProcessor(size=size), chat_template=words.chat_template
        ),
    )


def qwen3_vl(directory: Path) -> None:
    """Qwen3-VL: DeepStack from two depths, interleaved M-RoPE."""
    words = tokenizer(QWEN, ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"])
    config = Qwen3VLConfig(
        vision_config=dict(
            depth=3,
            hidden_size=32,
            intermediate_size=32,
            num_heads=2,
            out_hidden_size=32,
            patch_size=16,
            spatial_merge_size=2,
            temporal_patch_size=2,
            num_position_embeddings=64,
            deepstack_visual_indexes=[0, 1],
        ),
        text_config=dict(
            vocab_size=len(words),
            head_dim=8,
            rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 1, 1], mrope_interleaved=True),
            **TEXT,
        ),
        **qwen_ids(words),
    )
    video_size = {"shortest_edge": 64 * 64, "longest_edge": 12 * 72 * 72}
    save(
        directory,
        Qwen3VLForConditionalGeneration(config),
        Qwen3VLProcessor(
            Qwen2VLImageProcessor(patch_size=16),
            words,
            Qwen3VLVideoProcessor(size=video_size),
            chat_template=words.chat_template,
        ),
    )


def internvl(directory: Path) -> None:
    """InternVL3: one tile a frame, a Qwen2 decoder."""
    special = ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    words = tokenizer(
        CHATML.replace("VIDEO", "<video>\n"),
        special,
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = InternVLConfig(
        vision_config=dict(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=[56, 56],
            patch_size=[14, 14],
        ),
        text_config=dict(model_type="qwen2", vocab_size=len(words), **TEXT),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    size = {"height": 56, "width": 56}
    save(
        directory,
        InternVLForConditionalGeneration(config),
        InternVLProcessor(
            GotOcr2ImageProcessor(size=size),
            words,
            InternVLVideoProcessor(size=size),
            image_seq_length=4,
            chat_template=words.chat_template,
        ),
    )


def smolvlm(directory: Path) -> None:
    """SmolVLM2: one tile a frame, a Llama decoder."""
    special = ["<image>", "<video>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    words = tokenizer(CHATML.replace("VIDEO", "<video>"), special)
    config = SmolVLMConfig(
        vision_config=dict(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=56,
            patch_size=14,
        ),
        text_config=dict(model_type="llama", vocab_size=len(words), **TEXT),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    size, largest = {"longest_edge": 112}, {"longest_edge": 56}
    save(
        directory,
        SmolVLMForConditionalGeneration(config),
        SmolVLMProcessor(
            SmolVLMImageProcessor(size=size, max_image_size=largest),
            words,
            SmolVLMVideoProcessor(size=size, max_image_size=largest),
            image_seq_len=4,
            chat_template=words.chat_template,
        ),
    )


def llava_next_video(directory: Path) -> None:
    """LLaVA-NeXT-Video: CLIP, a Llama decoder, Vicuna's template."""
    words = tokenizer("", ["<image>", "<video>", "<s>"])
    words.bos_token = "<s>"
    words._tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", words.convert_tokens_to_ids("<s>"))]
    )
    words.chat_template = (  # Vicuna's, which leaves <s> to the tokenizer
        "{% for message in messages %}{{ message['role'].upper() }}: "
        "{% for part in message['content'] %}{% if part['type'] == 'video' %}<video>\n{% else %}{{ part['text'] }}"
        "{% endif %}{% endfor %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )
    config = LlavaNextVideoConfig(
        vision_config=dict(
            model_type="clip_vision_model",
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=56,
            patch_size=14,
        ),
        text_config=dict(model_type="llama", vocab_size=len(words), **TEXT),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[56, 56]],
    )
    size, crop = {"shortest_edge": 56}, {"height": 56, "width": 56}
    save(
        directory,
        LlavaNextVideoForConditionalGeneration(config),
        LlavaNextVideoProcessor(
            LlavaNextVideoVideoProcessor(size=size, crop_size=crop),
            LlavaNextImageProcessor(size=size, crop_size=crop, image_grid_pinpoints=[[56, 56]]),
            words,
            patch_size=14,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=words.chat_template,
        ),
    )


def qwen_ids(words: PreTrainedTokenizerFast) -> dict[str, int]:
    """The ids of the visual marks, by the names that Qwen's configurations give them."""
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    names |= {"vision_start_token_id": "vision_start", "vision_end_token_id": "vision_end"}
    return {key: words.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}


FAMILIES: dict[str, Callable[[Path], None]] = {
    "internvl": internvl,
    "llava_next_video": llava_next_video,
    "llava_onevision": llava_onevision,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen2_vl": qwen2_vl,
    "qwen3_vl": qwen3_vl,
    "smolvlm": smolvlm,
}

PUBLISHED_PROMPTS: dict[str, Callable[[str], str]] = {
    "qwen3_vl": lambda text: text.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>"),
}
"""How a chat template's text reads with the processor a family was published with, if transformers' departs from it.

Qwen3-VL's has vision marks around each frame alone; that of transformers 5.23 leaves a pair around the whole video.
"""


def save(directory: Path, model: Any, processor: Any) -> None:
    """A checkpoint directory as `save_pretrained` writes it."""
    model.save_pretrained(directory)
    processor.save_pretrained(directory)


def build(family: str, directory: Path) -> Path:
    """A family's tiny checkpoint, the same weights every time."""
    torch.manual_seed(0)
    FAMILIES[family](directory)
    return directory
