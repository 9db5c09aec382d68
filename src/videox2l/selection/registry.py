"""Every selector by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videox2l.checks import check_kind
from videox2l.registry import Registry

if TYPE_CHECKING:
    from videox2l.selection.base import Selector

SELECTORS: Registry[Selector] = Registry(
    "selector",
    {
        "adaptive": "videox2l.selection.adaptive:Adaptive",
        "even": "videox2l.selection.even:Even",
        "frames_adaq": "videox2l.selection.frames.adaq:QuasiGaussian",
        "frames_aks": "videox2l.selection.frames.aks:AdaptiveKeyframes",
        "frames_bolt": "videox2l.selection.frames.bolt:InverseTransform",
        "frames_top_k": "videox2l.selection.frames.top_k:TopFrames",
        "frames_uniform": "videox2l.selection.frames.uniform:UniformFrames",
        "manual": "videox2l.selection.manual:Manual",
        "one_level": "videox2l.selection.one_level:OneLevel",
        "top_k": "videox2l.selection.top_k:TopK",
    },
)


def make_selector(selector: str | Selector) -> Selector:
    """A selector by name with its defaults; one that is made already as it is. Raises: SettingsError."""
    if isinstance(selector, str):
        return SELECTORS.make(selector)
    from videox2l.selection.base import Selector

    check_kind(selector, Selector, "selector", "its name, or one that is made, as TopK(k=5)")
    return selector
