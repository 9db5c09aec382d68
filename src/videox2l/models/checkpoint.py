"""Checkpoint directories in Hugging Face's layout: find one, load its parts, name what is missing, fingerprint it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from videox2l.checks import check_path
from videox2l.errors import ModelError, SettingsError
from videox2l.store.file_digest import content_digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]

JUDGED_FILES = ("config.json", "adapter_config.json")
"""What a model on the hub is judged by before the rest of it is downloaded."""

FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Names of dtypes in safetensors files."""

HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
"""How the hub's cache names a blob: git's hash of a small file, SHA-256 of a large one."""


@contextmanager
def bars_in_a_terminal() -> Iterator[None]:
    """Within it transformers draws no progress bars, unless stderr is a terminal."""
    from transformers.utils import logging

    silences = logging.is_progress_bar_enabled() and not (sys.stderr and sys.stderr.isatty())
    if silences:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if silences:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class Checkpoint:
    """A model by its name: its configuration is looked at first, its other files come when they are wanted.

    name: hub id or directory, as it was given.
    directory: where its files lie; of a model on the hub, at first config.json alone.
    config: what config.json says.
    is_on_hub: whether files that are not there yet can be downloaded.
    """

    name: str
    directory: Path
    config: dict[str, Any]
    is_on_hub: bool

    @classmethod
    def find(cls, model: str | Path, revision: str | None = None) -> Self:
        """The checkpoint of a directory, or of a model on the Hugging Face hub or in its cache.

        model: hub id or directory. revision: branch, tag or commit on the hub; by default its main branch.
        Raises: ModelError if there is no such model, it has no config.json that can be read, or it holds an adapter;
        SettingsError for the revision of a directory.
        """
        check_path(model, "the model", "a hub id or a directory", ModelError)
        directory = Path(model).expanduser()
        is_on_hub = not directory.is_dir()
        if is_on_hub:
            directory = download(str(model), revision, list(JUDGED_FILES))
        elif revision is not None:
            raise SettingsError(
                f"revision {revision!r} names a version on the hub, and {model} is a directory: leave it out"
            )
        refuse_adapter(directory, str(model))
        return cls(str(model), directory, read_config(directory, str(model)), is_on_hub)

    def files(self) -> Path:
        """The directory with all of the checkpoint's files, of the revision that config.json is of."""
        if self.is_on_hub:
            return download(self.name, self.directory.name, MODEL_FILES)
        return self.directory


def download(model: str, revision: str | None, patterns: list[str]) -> Path:
    """The hub cache's directory of a model, with the files of these patterns; its name is the commit."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises what its parts raise
        raise ModelError(
            f"model {model!r} is neither a local directory nor a model that the Hugging Face hub gives here "
            f"({first_line(error)}): check the name, the network and the free disk space, or pass a directory"
        ) from error


def read_config(directory: Path, name: str) -> dict[str, Any]:
    """What config.json says. Raises: ModelError if it is missing or no JSON object."""
    file = directory / "config.json"
    if not file.is_file():
        raise ModelError(
            f"{name} is not a model in transformers' format, it has no config.json: pass a model's hub id, or a "
            "directory that save_pretrained wrote"
        )
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise ModelError(f"{file} is not valid JSON ({error}): download it again") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} is not a JSON object: download it again")
    return config


def refuse_adapter(directory: Path, name: str) -> None:
    """Raises: ModelError for an adapter (LoRA and the like), alone or beside a model, as it would not be applied.

    Beside a model it is not clear which is meant: some training scripts save a model that has its adapter merged
    beside that adapter, some one that has not.
    """
    file = directory / "adapter_config.json"
    if not file.is_file():
        return
    try:
        base = json.loads(file.read_text())["base_model_name_or_path"]
    except (ValueError, TypeError, KeyError):
        base = "its base model"
    merge = f"merge it into {base} with peft (merge_and_unload) and save that, or pass the loaded model from memory"
    if (directory / "config.json").is_file():
        raise ModelError(
            f"{name} holds an adapter (adapter_config.json) beside a model, and would be used without it: {merge}; "
            "remove adapter_config.json if the model has it merged already"
        )
    raise ModelError(f"{name} is an adapter (adapter_config.json) and not a model: {merge}")


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
            raise damaged(file, error) from error


def weights_dtype(directory: Path) -> str:
    """The dtype of a checkpoint's first weight that is stored in 16 or 32 bits; float32 if there is none."""
    for file in shard_files(directory):
        try:
            with safe_open(file, "pt") as stream:
                kinds = [stream.get_slice(name).get_dtype() for name in stream.keys()]  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise damaged(file, error) from error
        for kind in kinds:
            if kind in FLOATS:
                return FLOATS[kind]
    return "float32"


def damaged(file: Path, error: Exception) -> ModelError:
    """What to say of a weights file that can't be read."""
    return ModelError(f"{file} is damaged ({error}): download or build it again")


class LoadedEmbedding(nn.Embedding):
    """An embedding to load values into: on the meta device none are drawn, which would import torch's compiler."""

    def reset_parameters(self) -> None:
        """Draw the values, but on the meta device."""
        if not self.weight.is_meta:
            super().reset_parameters()


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


WITHOUT_KVS = {"generation_config.json", "contrastive"}
"""Parts of a checkpoint that its KVs do not depend on: how answers are decoded, and the contrastive oracle's head."""


def checkpoint_fingerprint(directory: Path) -> str:
    """Hex digest of every configuration, tokenizer and weights file of a checkpoint that its KVs depend on.

    A file in the hub's cache is a link to a blob that is named by its content's hash, so the name stands for it; any
    other file's content is read once and again when it seems changed (see `content_digest`).
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(directory.rglob("*")):
        if file.relative_to(directory).parts[0] in WITHOUT_KVS:
            continue
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
    try:
        if (directory / "tokenizer.json").is_file():
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast.from_pretrained(directory, trust_remote_code=False)
        if (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
            from transformers import Qwen2Tokenizer  # for which transformers looks through all its models

            return Qwen2Tokenizer.from_pretrained(directory, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"the tokenizer of {directory} does not load ({error}): download it again") from error
    raise ModelError(f"{directory} has no tokenizer: add tokenizer.json, or vocab.json and merges.txt")


def restore_buffers(model: nn.Module, device: torch.device) -> None:
    """Make anew the buffers that no checkpoint holds (CLIP's position ids), left on the meta device."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(module, name, torch.arange(buffer.shape[-1], device=device).expand(buffer.shape))


def first_line(error: Exception) -> str:
    """An error's first line, without its full stop."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
