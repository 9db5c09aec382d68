"""Checkpoint directories in Hugging Face's layout: find one, load its parts, name what is missing, fingerprint it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

from videox2l.errors import ModelError
from videox2l.models.file_digest import content_digest

MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]

HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
"""How the hub's cache names a blob: git's hash of a small file, SHA-256 of a large one."""


def checkpoint_directory(model: str | Path, revision: str | None = None) -> Path:
    """The local directory of a model: as given, or downloaded from the Hugging Face hub (or found in its cache).

    Raises: ModelError if it is neither a directory with a config.json nor a model the hub gives.
    """
    directory = Path(model)
    if directory.is_dir():
        if not (directory / "config.json").is_file():
            raise ModelError(f"{directory} is not a model directory: it has no config.json")
        return directory
    try:
        return Path(snapshot_download(str(model), revision=revision, allow_patterns=MODEL_FILES))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ModelError(
            f"model {str(model)!r} is neither a local directory nor a model that the Hugging Face hub gives here "
            f"({reason}): check the name, or download it where there is a network and pass its directory"
        ) from error


def shard_files(directory: Path) -> list[Path]:
    """The safetensors files that hold a checkpoint's weights."""
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        files = [directory / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    else:
        files = sorted(directory.glob("*.safetensors"))
    absent = [file.name for file in files if not file.is_file()]
    if not files or absent:
        what = f"lacks {', '.join(absent)}" if absent else "has no *.safetensors file"
        raise ModelError(f"{directory} {what}: download the checkpoint again")
    return files


def read_weights(directory: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors of one shard after another."""
    for file in shard_files(directory):
        try:
            yield load_file(file)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} is damaged ({error}): download or build it again") from error


def load_weights(module: nn.Module, directory: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Fill a module made on the meta device; parameters the checkpoint has and the module has not are left out.

    Raises: ModelError that names the first missing or misshapen parameters and their count.
    """
    expected = module.state_dict()
    missing = set(expected)
    for shard in read_weights(directory):
        taken = {}
        for name in missing & shard.keys():
            if shard[name].shape != expected[name].shape:
                raise ModelError(
                    f"parameter {name} of {directory} has shape {tuple(shard[name].shape)} and the configuration asks "
                    f"for {tuple(expected[name].shape)}: the files are of different versions"
                )
            taken[name] = shard[name].to(device, dtype if shard[name].is_floating_point() else None)
        module.load_state_dict(taken, strict=False, assign=True)
        missing -= taken.keys()
    if missing:
        first = ", ".join(sorted(missing)[:3])
        raise ModelError(
            f"checkpoint {directory} lacks {len(missing)} of {len(expected)} parameters ({first}"
            f"{' ...' if len(missing) > 3 else ''}): it is incomplete or of another architecture"
        )


def checkpoint_fingerprint(directory: Path) -> str:
    """Hex digest of every configuration, tokenizer and weights file of a checkpoint.

    A file in the hub's cache is a link to a blob that is named by its content's hash, so the name stands for it; any
    other file's content is read once and again when it seems changed (see `content_digest`).
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(directory.rglob("*")):
        if not file.is_file() or file.suffix not in {".json", ".safetensors", ".txt", ".model", ".jinja"}:
            continue
        digest.update(file.relative_to(directory).as_posix().encode())
        target = Path(os.path.realpath(file))
        if file.is_symlink() and target.parent.name == "blobs" and HASH.fullmatch(target.name):
            digest.update(target.name.encode())
        else:
            digest.update(bytes.fromhex(content_digest(file)))
    return digest.hexdigest()


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer: tokenizer.json as it is, or Qwen2's vocab.json and merges.txt.

    Raises: ModelError if there is neither, or it does not load.
    """
    if (directory / "tokenizer.json").is_file():
        kind: type[PreTrainedTokenizerBase] = PreTrainedTokenizerFast
    elif (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
        kind = Qwen2Tokenizer
    else:
        raise ModelError(f"{directory} has no tokenizer: add tokenizer.json, or vocab.json and merges.txt")
    try:
        return kind.from_pretrained(directory)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"the tokenizer of {directory} does not load ({error}): download it again") from error


def restore_buffers(model: nn.Module, device: torch.device) -> None:
    """Make anew the buffers that no checkpoint holds (CLIP's position ids), left on the meta device."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(module, name, torch.arange(buffer.shape[-1], device=device).expand(buffer.shape))


def end_ids(directory: Path, configured: int | list[int] | None) -> tuple[int, ...]:
    """The ids that end an answer: those of generation_config.json if there is one, else config.json's."""
    file = directory / "generation_config.json"
    ids = json.loads(file.read_text()).get("eos_token_id") if file.is_file() else None
    ids = configured if ids is None else ids
    return tuple(ids) if isinstance(ids, list) else () if ids is None else (ids,)
