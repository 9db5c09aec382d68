"""Tiny random checkpoints of transformers' own classes: one file a family, in which `build(directory)` saves one whole.

Where transformers' processor writes another prompt than the one a family was published with, its file also has
`published_prompt(text)`, which turns the chat template's text into the published one.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch

FAMILIES = (
    "internvl",
    "llava_next_video",
    "llava_onevision",
    "qwen2_5_vl",
    "qwen2_vl",
    "qwen3_vl",
    "smolvlm",
)
"""The families whose KVs can be re-used, by the names of their files, which are their model_types."""

RECURRENT_FAMILIES = ("qwen3_5",)
"""Those with recurrent layers, whose chunks are prefilled anew."""


def build(family: str, directory: Path) -> Path:
    """Save a family's tiny checkpoint, the same weights every time; the directory again."""
    torch.manual_seed(0)
    import_module(f"{__name__}.{family}").build(directory)
    return directory


def published_prompt(family: str) -> Callable[[str], str]:
    """Turns a chat template's text into that of the processor a family was published with; `str`: it is the same."""
    return getattr(import_module(f"{__name__}.{family}"), "published_prompt", str)
