"""What a chunk sees while it is run: the prompt and the KVs of earlier chunks, in a KV cache of bounded size."""

from __future__ import annotations

from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward, Visible
from videox2l.types import KV, Positions, VideoTokens


def check_context_tokens(tokens: int | None) -> None:
    """Raises: SettingsError if no context has so many tokens at most."""
    if tokens is not None and tokens < 1:
        raise SettingsError(f"context_tokens={tokens} is too small: pass 1 or more")


class Context:
    """The prompt and the newest chunks' KVs, un-rotated in `chunks` and rotated in `cache`.

    A chunk takes three steps, the same ones whether it is run or was compressed before an interruption: `make_room`,
    `run` (not for one that was compressed before), `append`.

    model: MLLM, whose decoder runs the chunks.
    prompt: KV, of what stands before the video; it never leaves.
    max_tokens: int or None, tokens that the prompt and the chunks have at most when a chunk is run. Beyond it, or
        beyond what the model's trained context leaves beside the chunk, the oldest chunks leave. None: no bound at all.
    max_chunks: int or None, default None. Chunks that are seen at most, whatever their tokens; None: any number.
    positions: where chunks stand: "contiguous" (default) behind what they see, or "original", as in the whole video.
    """

    def __init__(
        self,
        model: MLLM,
        prompt: KV,
        *,
        max_tokens: int | None,
        max_chunks: int | None = None,
        positions: Positions = "contiguous",
    ):
        self.model, self.prompt = model, prompt
        self.max_tokens, self.max_chunks, self.positions = max_tokens, max_chunks, positions
        self.chunks: list[KV] = []
        self.appended = 0
        self.cache = model.new_cache(len(prompt))
        self._fill()

    def make_room(self, tokens: int) -> None:
        """Let the oldest chunks leave until a chunk of so many tokens may be run."""
        held, leaving = len(self.chunks), 0
        if self.max_chunks is not None:
            leaving = max(0, held - self.max_chunks)
        if self.max_tokens is not None:
            limit = min(self.max_tokens, self.model.max_positions - tokens)
            length = len(self.prompt) + sum(map(len, self.chunks[leaving:]))
            while length > limit and leaving < held:
                length -= len(self.chunks[leaving])
                leaving += 1
        if leaving:
            del self.chunks[:leaving]
            self._fill()

    def run(
        self,
        tokens: VideoTokens,
        *,
        visible: tuple[Visible, ...] | None = None,
        records_queries: bool = False,
    ) -> Forward:
        """Run a chunk behind the context, which stays as it is; its KVs are recorded.

        visible: what the chunk's tokens see; by default all before them.
        """
        length, next_position = self.cache.length, self.cache.next_position
        forward = Forward.behind(
            self.cache,
            len(tokens),
            positions=self.place(tokens.positions),
            visible=visible,
            deepstack=tokens.deepstack,
            records_kv=True,
            records_queries=records_queries,
        )
        self.model.run(tokens.embeddings, forward)
        self.cache.cut(length, next_position)
        return forward

    def append(self, kv: KV) -> None:
        """Add a chunk's KVs, as later chunks are to see them."""
        kv = kv.to(self.model.device)
        self.chunks.append(kv)
        self.appended += 1
        self._put(kv)

    def place(self, positions: Tensor) -> Tensor:
        """Where the next tokens stand; positions: theirs in the whole video, (n,), or (3, n) for M-RoPE."""
        return positions if self.positions == "original" else self.model.contiguous(positions, self._last)

    def _fill(self) -> None:
        self.cache.clear()
        self.cache.append(self.prompt)
        self._last = self.prompt.positions  # where the newest tokens stand
        for kv in self.chunks:
            self._put(kv)

    def _put(self, kv: KV) -> None:
        if len(kv):
            self._last = self.place(kv.positions)
            self.cache.append(kv, self._last)
