"""What a checkpoint's generation_config.json says: how its answers are decoded and end, and if it can converse."""

from __future__ import annotations

from pathlib import Path

from transformers import GenerationConfig

from videox2l.errors import ModelError
from videox2l.models.base import Decoding


def read_generation_config(directory: Path) -> GenerationConfig | None:
    """That of a checkpoint directory, or None if it has none. Raises: ModelError for one that can't be read."""
    if not (directory / "generation_config.json").is_file():
        return None
    try:
        return GenerationConfig.from_pretrained(directory)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"generation_config.json of {directory} can't be read ({error}): download it again") from error


def end_ids(config: GenerationConfig | None, default: int | list[int] | None) -> tuple[int, ...]:
    """The ids that end an answer: those of the generation configuration, else the default ones."""
    ids = config.eos_token_id if config else None
    ids = default if ids is None else ids
    return tuple(ids) if isinstance(ids, list) else () if ids is None else (ids,)


def trained_on_conversations(config: GenerationConfig | None) -> bool:
    """Whether a model knows earlier turns; true unless its checkpoint says false, which is a field of our own."""
    return bool(getattr(config, "trained_on_conversations", True))


def own_decoding(config: GenerationConfig | None) -> Decoding:
    """What a checkpoint says of decoding; what it does not say is as in transformers' `generate`."""
    if config is None:
        return Decoding()
    penalty = config.repetition_penalty or 1.0
    if not config.do_sample:
        return Decoding(repetition_penalty=penalty)
    temperature, top_k, top_p = config.temperature, config.top_k, config.top_p
    return Decoding(
        1.0 if temperature is None else temperature,
        50 if top_k is None else top_k,
        1.0 if top_p is None else top_p,
        penalty,
    )
