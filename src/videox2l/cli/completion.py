"""What the shell offers for an option's value when Tab is pressed; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from videox2l.compression.registry import COMPRESSORS
from videox2l.oracles.registry import ENCODERS, ORACLES
from videox2l.selection.registry import SELECTORS

SMALL_MODELS = (
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
    "Qwen/Qwen2.5-VL-3B-Instruct",
    "Qwen/Qwen2.5-VL-7B-Instruct",
)


def one_of(*values: str) -> Callable[[str], list[str]]:
    """Offers these values."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def oracles(incomplete: str) -> list[str]:
    """The oracles; behind a "+" those that can be fused with what stands before it."""
    before, plus, begun = incomplete.rpartition("+")
    taken = before.split("+")
    return [before + plus + name for name in ORACLES.names if name.startswith(begun) and name not in taken]


def selectors(incomplete: str) -> list[str]:
    """The selectors."""
    return one_of(*SELECTORS.names)(incomplete)


def compressors(incomplete: str) -> list[str]:
    """The compressors."""
    return one_of(*COMPRESSORS.names)(incomplete)


def models(incomplete: str) -> list[str]:
    """The bundled models, small ones on the hub, those that were downloaded, and directories."""
    return [*one_of("nano", "nano-qwen", *SMALL_MODELS)(incomplete), *downloaded(incomplete), *directories(incomplete)]


def encoders(incomplete: str) -> list[str]:
    """Encoders on the hub, what was downloaded, and directories."""
    return [*one_of(*ENCODERS)(incomplete), *downloaded(incomplete), *directories(incomplete)]


def stores(incomplete: str) -> list[str]:
    """The two kinds of store by name, and directories."""
    return [*one_of("disk", "ram")(incomplete), *directories(incomplete)]


def downloaded(incomplete: str) -> list[str]:
    """Models in the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    names = (folder.name.removeprefix("models--").replace("--", "/") for folder in Path(HF_HUB_CACHE).glob("models--*"))
    known = {*SMALL_MODELS, *ENCODERS}
    return sorted(name for name in names if name.startswith(incomplete) and name not in known)


def directories(incomplete: str) -> list[str]:
    """Directories that begin so."""
    home, slash, begun = incomplete.rpartition("/")
    home += slash
    try:
        found = sorted(path.name for path in Path(home or ".").expanduser().iterdir() if path.is_dir())
    except OSError:
        return []
    return [f"{home}{name}/" for name in found if name.startswith(begun) and (begun or not name.startswith("."))]
