"""Stage 3 of nano: the contrastive head, which scores chunks for a question without the language model.

Each visual token (with its time) goes through a small MLP, a question is the sum of its words' vectors, and a chunk
scores the largest cosine among its tokens.
"""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.export import save_fp16, write_json
from training.language import FIRST_TIME_ID, VOCABULARY
from training.lessons import Bank, draw_questions
from videox2l.synthesis.questions import LAST_TIME_S, Question
from videox2l.synthesis.world import BLOCK_S

TASKS = {
    "attribute": 0.16,
    "where": 0.16,
    "when": 0.16,
    "exist": 0.16,
    "at": 0.2,
    "describe": 0.06,
    "order": 0.1,
}
TEMPERATURE = 0.05


class ContrastiveHead(nn.Module):
    """Image side: Linear, GELU, Linear. Text side: a table of word vectors, times as sums as in the language model.

    hidden_size: width of a visual token. size: of the embeddings, default 64. inner: between the two layers, default
    256.
    """

    def __init__(self, hidden_size: int, size: int = 64, inner: int = 256):
        super().__init__()
        self.hidden_size, self.size, self.inner = hidden_size, size, inner
        self.image = nn.Sequential(nn.Linear(hidden_size, inner), nn.GELU(), nn.Linear(inner, size))
        self.words = nn.Parameter(torch.randn(FIRST_TIME_ID, size) * 0.1)
        self.minutes = nn.Parameter(torch.randn(LAST_TIME_S // 60, size) * 0.1)
        self.tens = nn.Parameter(torch.randn(6, size) * 0.1)
        self.ones = nn.Parameter(torch.randn(10, size) * 0.1)

    def text_table(self) -> Tensor:
        """Word vectors (vocabulary, size)."""
        times = self.minutes[:, None, None] + self.tens[:, None] + self.ones
        return torch.cat([self.words, times.flatten(0, 2)])

    def embed_text(self, questions: list[str]) -> Tensor:
        """Normalised embeddings (Q, size)."""
        ids = [VOCABULARY.encode(text) for text in questions]
        bags = torch.zeros(len(ids), len(VOCABULARY))
        for row, words in zip(bags, ids, strict=True):
            for word in words:
                row[word] += 1
        return F.normalize(bags @ self.text_table(), dim=-1)

    def scores(self, questions: list[str], tokens: Tensor) -> Tensor:
        """Cosines (Q, chunks): the largest over each chunk's tokens (chunks, 40, hidden)."""
        images = F.normalize(self.image(tokens), dim=-1)
        return torch.einsum("qd,cnd->qcn", self.embed_text(questions), images).amax(-1)


def timed_tokens(visual: Tensor, start_s: int, table: Tensor) -> Tensor:
    """A video's visual tokens (chunks, 40, hidden) with the times of their frames added."""
    chunks, frames = visual.shape[:2]
    times = table[FIRST_TIME_ID + start_s + torch.arange(chunks * frames)].unflatten(0, (chunks, frames))
    return (visual + times[:, :, None]).flatten(1, 2)


def true_chunks(question: Question, start_s: int) -> set[int]:
    """The chunks that hold a question's needles."""
    return {int((time_s - start_s) // BLOCK_S) for time_s in question.needle_times_s}


def train_contrastive(bank: Bank, table: Tensor, steps: int, seed: int, out: Path) -> ContrastiveHead:
    """Train for a number of steps on composed videos; table is the language model's final word table."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    head = ContrastiveHead(table.shape[1])
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.0)
    start = time.time()
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (0.5 + 0.5 * math.cos(math.pi * (step - 1) / steps))
        losses = []
        for _ in range(4):
            visual, start_s, script = bank.compose(rng, rng.choice((8, 16, 24)))
            asked = [q for q in draw_questions(rng, script, TASKS, 32) if q.needle_times_s]
            targets = torch.zeros(len(asked), len(visual))
            for row, question in zip(targets, asked, strict=True):
                chunks = list(true_chunks(question, start_s))
                row[chunks] = 1 / len(chunks)
            scores = head.scores([q.text for q in asked], timed_tokens(visual, start_s, table))
            losses.append(F.cross_entropy(scores / TEMPERATURE, targets))
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 200 == 0:
            record = {"step": step, "s": round(time.time() - start), "loss": loss.item()}
            with (out / "contrastive.jsonl").open("a") as log:
                print(json.dumps(record | recall(head, bank, table, chunks=10, videos=20)), file=log)
    return head


@torch.no_grad()
def recall(
    head: ContrastiveHead, bank: Bank, table: Tensor, chunks: int, videos: int, seed: int = 0
) -> dict[str, float]:
    """Share of held-out questions whose true chunks are all among the best 1 and 3, by task."""
    rng = random.Random(seed)
    found: dict[str, list[bool]] = {}
    for _ in range(videos):
        visual, start_s, script = bank.compose(rng, chunks, "test", start_s=0)
        asked = [q for q in draw_questions(rng, script, TASKS, 40) if q.needle_times_s]
        scores = head.scores([q.text for q in asked], timed_tokens(visual, start_s, table))
        for question, best in zip(asked, scores.argsort(dim=-1, descending=True).tolist(), strict=True):
            for k in (1, 3):
                found.setdefault(f"{question.task}@{k}", []).append(true_chunks(question, start_s) <= set(best[:k]))
    return {key: round(sum(hits) / len(hits), 3) for key, hits in sorted(found.items())}


def export_contrastive(head: ContrastiveHead, directory: Path) -> None:
    """Write config.json and model.safetensors of the head."""
    directory.mkdir(parents=True, exist_ok=True)
    write_json(
        directory / "config.json",
        {
            "model_type": "contrastive_head",
            "input": "visual_tokens_with_time",
            "hidden_size": head.hidden_size,
            "inner_size": head.inner,
            "embedding_size": head.size,
            "vocab_size": len(VOCABULARY),
        },
    )
    weights = {f"image.{name}": value for name, value in head.image.state_dict().items()}
    save_fp16(weights | {"text.weight": head.text_table()}, directory / "model.safetensors")
