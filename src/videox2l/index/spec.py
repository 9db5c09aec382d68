"""What made an index, as plain data: it makes the key under which the index is found, and is checked when asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from videox2l.compression.base import Compressor
from videox2l.compression.registry import COMPRESSORS
from videox2l.digest import digest
from videox2l.errors import SettingsError
from videox2l.levels import Level, ratios_of
from videox2l.models.base import MLLM
from videox2l.types import Positions, VideoSpec

FORMAT = 4
"""Of everything that an index stores; raised when that changes."""


@dataclass(frozen=True)
class IndexSpec:
    """What an index was made of and how; two that are equal are one index.

    video: the frames it is made of.
    model: the model's fingerprint.
    dtype: of its KVs, as "torch.float32".
    compressor: the compressor's name and settings.
    format: of what is stored.
    """

    video: VideoSpec
    model: str
    dtype: str
    compressor: Mapping[str, Any]
    format: int = FORMAT

    @classmethod
    def of(cls, video: VideoSpec, model: MLLM, compressor: Compressor) -> IndexSpec:
        """The spec of the index that a model and a compressor make of a video."""
        settings = COMPRESSORS.describe(compressor) | {"positions": compressor.positions}
        return cls(video, model.fingerprint, str(model.dtype), settings)

    @property
    def levels(self) -> tuple[Level, ...]:
        """What every chunk is kept as, finest first."""
        return tuple(self.compressor["levels"])

    @property
    def ratios(self) -> tuple[int, ...]:
        """The levels that are KVs, finest first."""
        return ratios_of(self.levels)

    @property
    def positions(self) -> Positions:
        """Where chunks were run, and are re-loaded: see `Compressor.positions`."""
        return self.compressor["positions"]

    @cached_property
    def key(self) -> str:
        """Hex digest of all of it."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> IndexSpec:
        """From what `to_json` gave, read back."""
        video: dict[str, Any] = dict(values["video"])
        video |= {name: tuple(video[name]) for name in ("times_s", "chunk_frames")}
        return cls(**{**values, "video": VideoSpec(**video)})

    def check_model(self, model: MLLM) -> None:
        """Raises: SettingsError if another model than this one, or the same in another dtype, made the index."""
        if model.fingerprint != self.model:
            raise SettingsError(
                f"this index was made by another model than {model.name}, whose KVs it can't read: index the video "
                "again with the model you ask with"
            )
        if str(model.dtype) != self.dtype:
            raise SettingsError(
                f"this index holds {self.dtype} KVs and {model.name} runs in {model.dtype}: index the video again, or "
                f"load the model with dtype={self.dtype.removeprefix('torch.')}"
            )
