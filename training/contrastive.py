"""A contrastive head for any model: python -m training.contrastive --model DIR_OR_HUB_ID --out HEAD_DIR

The head scores chunks for a question without the language model: each visual token goes through a small MLP, a question
is the sum of its tokens' vectors, and a chunk scores the largest cosine among its visual tokens. It is trained on fresh
needle videos, as the model's own adapter turns them into visual tokens, with a softmax over a video's chunks. Use it as
`VideoX2L.from_pretrained(DIR_OR_HUB_ID, encoder=HEAD_DIR)`; in a checkpoint's folder `contrastive` it is found.

Visual tokens hold no times, so a question for what is shown at a given time is not learnt (nano's head, whose tokens
hold them, is trained by `training.timed_head`).
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.export import save_fp16, write_json
from training.lessons import draw_questions
from videox2l.models.base import MLLM
from videox2l.models.load import load_model
from videox2l.synthesis.questions import Question
from videox2l.synthesis.world import BLOCK_S, VideoScript, render, sample_script
from videox2l.tracks.contrastive_head import HeadModule
from videox2l.types import ChunkPlace, Frames, VideoOutline

TASKS = {"attribute": 0.25, "where": 0.2, "when": 0.2, "exist": 0.2, "order": 0.15}
TEMPERATURE = 0.05


@dataclass(frozen=True)
class Watched:
    """A video as the model sees it.

    tokens: visual tokens of each ten seconds, (chunks, tokens, hidden). script: what happens in it.
    """

    tokens: Tensor
    script: VideoScript


@torch.no_grad()
def watch(model: MLLM, rng: random.Random, seconds: int, height: int, width: int) -> Watched:
    """Draw a needle video of a frame a second and encode it, ten seconds at a time."""
    script = sample_script(rng, seconds, events_per_block=(2, 5))
    outline = VideoOutline(seconds, float(seconds))
    chunks = []
    for start in range(0, seconds, BLOCK_S):
        pixels = np.stack([render(script, start + frame, height, width) for frame in range(BLOCK_S)])
        times = start + torch.arange(BLOCK_S).double()
        frames = Frames(torch.from_numpy(pixels).permute(0, 3, 1, 2), times)
        chunks.append(model.visual_tokens(frames, ChunkPlace(outline, start, 0, False)).visual)
    return Watched(torch.stack(chunks).half().cpu(), script)


def bags(model: MLLM, questions: Sequence[str], vocabulary: int) -> Tensor:
    """How often each token stands in each question, (questions, vocabulary)."""
    counts = torch.zeros(len(questions), vocabulary)
    for row, text in zip(counts, questions, strict=True):
        for token in model.tokenizer(text, add_special_tokens=False)["input_ids"]:
            row[token] += 1
    return counts


def scores(head: HeadModule, counts: Tensor, tokens: Tensor) -> Tensor:
    """Cosines (questions, chunks): the largest over each chunk's tokens (chunks, tokens, hidden)."""
    texts = F.normalize(counts @ head.text.weight, dim=-1)
    images = F.normalize(head.image(tokens.float()), dim=-1)
    return torch.einsum("qd,cnd->qcn", texts, images).amax(-1)


def true_chunks(question: Question) -> set[int]:
    """The chunks that hold a question's needles."""
    return {int(time_s // BLOCK_S) for time_s in question.needle_times_s}


def ask(rng: random.Random, video: Watched, count: int) -> list[Question]:
    """Questions about a video that hang on a needle."""
    return [question for question in draw_questions(rng, video.script, TASKS, count) if question.needle_times_s]


def train_head(
    model: MLLM, videos: Sequence[Watched], steps: int, seed: int, size: int = 64, inner: int = 256
) -> HeadModule:
    """Train on videos; size is that of the embeddings, inner that between the MLP's two layers."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    vocabulary = len(model.tokenizer)
    head = HeadModule(videos[0].tokens.shape[-1], inner, size, vocabulary)
    torch.nn.init.normal_(head.text.weight, std=0.1)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.0, weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        losses = []
        for video in rng.sample(videos, min(4, len(videos))):
            asked = ask(rng, video, 24)
            targets = torch.zeros(len(asked), len(video.tokens))
            for row, question in zip(targets, asked, strict=True):
                chunks = list(true_chunks(question))
                row[chunks] = 1 / len(chunks)
            counts = bags(model, [question.text for question in asked], vocabulary)
            losses.append(F.cross_entropy(scores(head, counts, video.tokens) / TEMPERATURE, targets))
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
    return head.eval().requires_grad_(False)


@torch.no_grad()
def recall(model: MLLM, head: HeadModule, videos: Sequence[Watched], seed: int) -> dict[str, float]:
    """Share of questions whose true chunks are all among the best 1 and 3, by task."""
    rng = random.Random(seed)
    found: dict[str, list[bool]] = {}
    for video in videos:
        asked = ask(rng, video, 40)
        counts = bags(model, [question.text for question in asked], len(model.tokenizer))
        ranked = scores(head, counts, video.tokens).argsort(dim=-1, descending=True).tolist()
        for question, best in zip(asked, ranked, strict=True):
            for k in (1, 3):
                found.setdefault(f"{question.task}@{k}", []).append(true_chunks(question) <= set(best[:k]))
    return {key: round(sum(hits) / len(hits), 3) for key, hits in sorted(found.items())}


def export_head(head: HeadModule, directory: Path) -> None:
    """Write config.json and model.safetensors of the head."""
    directory.mkdir(parents=True, exist_ok=True)
    first, last = head.image[0], head.image[2]
    write_json(
        directory / "config.json",
        {
            "model_type": "contrastive_head",
            "input": "visual_tokens",
            "hidden_size": first.in_features,
            "inner_size": first.out_features,
            "embedding_size": last.out_features,
            "vocab_size": head.text.num_embeddings,
        },
    )
    save_fp16(head.state_dict(), directory / "model.safetensors")


def main() -> None:
    """Train a head, write it, and print its recall on videos that it was not trained on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="directory or hub id of a checkpoint, or a bundled model's name")
    parser.add_argument("--out", type=Path, required=True, help="directory to write the head to")
    parser.add_argument("--videos", type=int, default=40, help="to train on")
    parser.add_argument("--seconds", type=int, default=200, help="length of each, in whole tens")
    parser.add_argument("--size", default="160x160", help="of their frames, width x height")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    model = load_model(options.model)
    rng = random.Random(f"contrastive {options.seed}")
    width, height = map(int, options.size.split("x"))
    videos = [watch(model, rng, options.seconds, height, width) for _ in range(options.videos + 20)]
    head = train_head(model, videos[20:], options.steps, options.seed)
    export_head(head, options.out)
    print(json.dumps(recall(model, head, videos[:20], options.seed), indent=2))


if __name__ == "__main__":
    main()
