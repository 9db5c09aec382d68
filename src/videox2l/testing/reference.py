"""A checkpoint as transformers itself runs it: its own class, its own processor, the same frames."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.video_utils import VideoMetadata


@dataclass(frozen=True)
class ReferenceAnswer:
    """What is decoded greedily.

    logits: of every step, (steps, vocabulary), the one that chose the id that ends the answer included.
    ids: without that one.
    """

    logits: Tensor
    ids: list[int]

    def certain_ids(self, tolerance: float) -> list[int]:
        """The ids up to the first step at which logits that differ by less than the tolerance may choose another."""
        best, second = self.logits.topk(2).values.T  # (steps,) each
        certain = (best - second > 2 * tolerance).long().cumprod(0)
        return self.ids[: int(certain.sum())]


class ReferenceModel(Protocol):
    """What an adapter is compared with: a whole model's answer about one video, as `Reference` gives it."""

    @property
    def tokens(self) -> int:
        """Tokens of prompt, video and question."""

    def answer(self, tokens: int) -> ReferenceAnswer:
        """At most so many greedily decoded tokens."""


class Reference:
    """What a model's own class answers about a video of a frame a second.

    directory: of the checkpoint.
    pixels: the video, uint8 (T, 3, H, W).
    question: asked about it.
    prompt: turns the text of the chat template into that of the processor the model was published with, where the one
        in transformers departs from it; by default it stays.
    """

    def __init__(self, directory: Path, pixels: Tensor, question: str, prompt: Callable[[str], str] = str):
        self.model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
        processor = AutoProcessor.from_pretrained(directory)
        content = [{"type": "video"}, {"type": "text", "text": question}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        frames = list(range(len(pixels)))
        metadata = VideoMetadata(
            total_num_frames=len(frames), fps=1.0, duration=float(len(frames)), frames_indices=frames
        )
        bos = processor.tokenizer.bos_token
        self.inputs: dict[str, Tensor] = processor(
            text=[prompt(text)],
            videos=[pixels],
            video_metadata=[metadata],
            do_sample_frames=False,
            add_special_tokens=not (bos and text.startswith(bos)),
            return_tensors="pt",
        )

    @property
    def tokens(self) -> int:
        """Tokens of prompt, video and question."""
        return self.inputs["input_ids"].shape[1]

    def logits(self) -> Tensor:
        """Logits of the answer's first token, (vocabulary,)."""
        return self.answer(1).logits[0]

    @torch.no_grad()
    def answer(self, tokens: int) -> ReferenceAnswer:
        """At most so many greedily decoded tokens."""
        if self._right_positions(self.inputs):  # generate would use the wrong ones
            return self._answer_without_cache(tokens)
        made = self.model.generate(
            **self.inputs,
            max_new_tokens=tokens,
            do_sample=False,
            repetition_penalty=1.0,
            output_logits=True,
            return_dict_in_generate=True,
        )
        return ReferenceAnswer(torch.cat(made.logits), self._until_the_end(made.sequences[0, self.tokens :].tolist()))

    def _answer_without_cache(self, tokens: int) -> ReferenceAnswer:
        """A forward of everything for every token."""
        logits: list[Tensor] = []
        ids: list[int] = []
        inputs: dict[str, Any] = dict(self.inputs)
        while len(ids) < tokens and self._until_the_end(ids) == ids:
            logits.append(self.model(**inputs, **self._right_positions(inputs)).logits[0, -1])
            ids.append(int(logits[-1].argmax()))
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([ids[-1:]])], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, 1))
        return ReferenceAnswer(torch.stack(logits), self._until_the_end(ids))

    def _until_the_end(self, ids: list[int]) -> list[int]:
        """The ids before one that ends an answer."""
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]

    def _right_positions(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """M-RoPE positions as the papers have them, where the class's own are others.

        transformers 5.23 lets the text behind a long video begin inside the video's own positions.
        """
        if not hasattr(self.model.model, "get_rope_index"):
            return {}
        known = inspect.signature(self.model.model.get_rope_index).parameters
        own, _ = self.model.model.get_rope_index(**{name: inputs[name] for name in known if name in inputs})
        _, sizes = inputs["mm_token_type_ids"][0].unique_consecutive(return_counts=True)
        right, following = [], 0
        for run in own.split(sizes.tolist(), dim=-1):  # text or frames: each begins behind all that came before
            right.append(run - run.min() + following)
            following = int(right[-1].max()) + 1
        positions = torch.cat(right, dim=-1)
        return {} if torch.equal(positions, own) else {"position_ids": positions}
