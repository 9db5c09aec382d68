"""A checkpoint as transformers itself runs it: its own class, its own processor, the same frames."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.video_utils import VideoMetadata


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

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Logits of the answer's first token, (vocabulary,)."""
        return self.model(**self.inputs, **self._right_positions(self.inputs)).logits[0, -1]

    @torch.no_grad()
    def answer_ids(self, tokens: int) -> list[int]:
        """So many greedily decoded ids, without the one that ends an answer."""
        eos = self.model.generation_config.eos_token_id
        if self._right_positions(self.inputs):  # generate would use the wrong ones
            return self._answer_ids_without_cache(tokens, eos)
        out = self.model.generate(**self.inputs, max_new_tokens=tokens, do_sample=False)
        ids = out[0, self.tokens :].tolist()
        return ids[: ids.index(eos)] if eos in ids else ids

    def _answer_ids_without_cache(self, tokens: int, eos: int | None) -> list[int]:
        """Greedy decoding, a forward of everything for every token."""
        answer: list[int] = []
        inputs: dict[str, Any] = dict(self.inputs)
        for _ in range(tokens):
            token = self.model(**inputs, **self._right_positions(inputs)).logits[0, -1].argmax()
            if int(token) == eos:
                break
            answer.append(int(token))
            inputs["input_ids"] = torch.cat([inputs["input_ids"], token.view(1, 1)], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, 1))
        return answer

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
