"""The demonstration models that come with the package."""

from __future__ import annotations

from pathlib import Path

BUNDLED = {name: Path(__file__).parent.parent / name.replace("-", "_") for name in ("nano", "nano-qwen")}
"""Their directories by name: a Video-XL, and one of transformers' Qwen3-VL class."""
