"""What a place shows now and did not show before."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from videox2l.compression.training_free import Eviction, Prefilled
from videox2l.errors import SettingsError


@dataclass(frozen=True)
class TemporalRedundancy(Eviction):
    """Keep tokens unlike those at the same place in recent frames (the TaR score of InfiniPot-V, arXiv 2506.15745).

    recent_frames: int, frames, default 2. How many of the chunk's last frames every frame is compared with; more make
        a steadier score. With 1 the last frame is compared with none, and kept before all others.
    levels: compression ratios, finest first; (2, 32) by default.
    context: what a chunk sees of earlier ones; "compressed" by default, "window:N", "full" or "none".
    context_tokens: tokens of prompt and context at most; None by default, 8192.
    positions: where chunks stand; "contiguous" by default, or "original".
    one_time_from: the ratio from which on a chunk keeps one time of its text; 8 by default, None for no ratio.
    `TrainingFree` says when to change the last five.
    Raises: SettingsError for no recent frames, and what `TrainingFree` refuses.
    """

    recent_frames: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recent_frames < 1:
            raise SettingsError(f"recent_frames={self.recent_frames} is too few: pass 1 or more")

    def scores(self, chunk: Prefilled) -> Tensor:
        """Minus the mean cosine with the keys of the same place in the recent frames, mean over layers and heads.

        A recent frame is compared with the other recent ones. Frames of different sizes can't be compared: every token
        then scores the same.
        """
        keys = F.normalize(chunk.kv.keys.float(), dim=-1)[:, :, ~chunk.tokens.is_text]
        counts = chunk.tokens.frame[~chunk.tokens.is_text].unique_consecutive(return_counts=True)[1]
        scores = keys.new_zeros(len(chunk.tokens))
        frames = len(counts)
        if frames < 2 or counts.unique().numel() > 1:
            return scores
        keys = keys.unflatten(2, (frames, -1))  # (n_l, n_h, T, places, d_h)
        recent = keys[:, :, -self.recent_frames :]
        cosine = (keys[:, :, :, None] * recent[:, :, None]).sum(-1)  # (n_l, n_h, T, recent, places)
        count = recent.shape[2]
        total = cosine.sum(dim=3)
        total[:, :, -count:] -= 1.0  # a recent frame's cosine with itself
        others = keys.new_full((frames, 1), float(count))
        others[-count:] = max(count - 1, 1)
        scores[~chunk.tokens.is_text] = -(total / others).mean(dim=(0, 1)).flatten()
        return scores
