"""Checkpoints made on the spot from golden weights, with a byte-level tokenizer, and their decoder by transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)


def save_byte_tokenizer(directory: Path, time_id: int | None = None) -> None:
    """A tokenizer with a token per byte, as Qwen2's first 256, and Qwen2's chat tokens: it can write anything.

    time_id: the id of "Time", if it is to be one token.
    """
    vocab = {character: index for index, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    if time_id is not None:
        vocab |= {"Ti": 256, "Tim": 257, "Time": time_id}
        merges = [("T", "i"), ("Ti", "m"), ("Tim", "e")]
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"]
    ).save_pretrained(directory)


def save_video_xl(golden: Path, directory: Path) -> Path:
    """The checkpoint directory of a golden set of Video-XL."""
    for name in ("config.json", "vision_config.json", "preprocessor_config.json"):
        shutil.copy(golden / name, directory)
    shutil.copy(golden / "weights.safetensors", directory / "model.safetensors")
    save_byte_tokenizer(directory)
    return directory


def save_video_xl_2(golden: Path, directory: Path) -> Path:
    """The checkpoint directory of a golden set of Video-XL-2."""
    config = json.loads((golden / "config.json").read_text())
    config["visual_placeholder_id"] = config.pop("golden_visual_placeholder_id")
    (directory / "config.json").write_text(json.dumps(config))
    shutil.copy(golden / "vision_config.json", directory)
    shutil.copy(golden / "weights.safetensors", directory / "model.safetensors")
    save_byte_tokenizer(directory, int(load_file(golden / "inputs.safetensors")["D/time_ids"][0]))
    return directory


def plain_qwen2(directory: Path) -> Qwen2ForCausalLM:
    """transformers' own decoder with the ordinary weights of a Video-XL or a Video-XL-2."""
    model = Qwen2ForCausalLM(Qwen2Config(**json.loads((directory / "config.json").read_text())))
    weights = load_file(directory / "model.safetensors")
    ordinary = {name: weight for name, weight in weights.items() if name in model.state_dict()}
    absent = model.load_state_dict(ordinary, strict=False).missing_keys
    assert absent == (["lm_head.weight"] if model.config.tie_word_embeddings else [])
    return model.eval()


def text_tokenizer() -> PreTrainedTokenizerFast:
    """A token per byte between <s> and </s>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate([*alphabet, "<s>", "</s>"])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    ends = [(name, vocabulary[name]) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def save_dual_encoder(kind: str, directory: Path) -> Path:
    """A tiny random CLIP or SigLIP of 40 text tokens, with its real processor; returns its directory."""
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = size | {
        "vocab_size": 258,
        "max_position_embeddings": 40,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 257,
    }
    vision = size | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    if kind == "clip":
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(directory)
        images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        CLIPProcessor(images, text_tokenizer()).save_pretrained(directory)
    else:
        SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(directory)
        images = SiglipImageProcessor(size={"height": 32, "width": 32})
        SiglipProcessor(images, text_tokenizer()).save_pretrained(directory)
    return directory
