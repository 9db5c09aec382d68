"""Train nano-qwen from nothing: python -m training.train_nano_qwen --out runs/nano-qwen [--preset cpu] [--stage ...]

Stages, each reading what the one before left in --out; without --stage all run, and what was done is kept:

  bank         render some thousand ten-second chunks of needle video, square and wide; see `training.bank`
  tower        vision encoder, classifying every visual token against a table of words; then frozen
  encode       all of the bank through the encoder, once
  language     the decoder on videos composed of encoded chunks, by a curriculum; resumable
  export       the checkpoint directory that ships, in --export
  measure      accuracy by task on held-out chunks, in training form

The contrastive head is trained on the exported checkpoint: see `training.contrastive`. Curves are written to
tower.jsonl and language.jsonl. Stages are measured in steps and everything is drawn from --seed, so a second training
is the same but for rounding.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from transformers import Qwen3VLTextConfig, Qwen3VLVisionConfig

from training.bank import FOUR_TO_THREE, SIXTEEN_TO_NINE, SQUARE, FrameSize, render_bank
from training.lessons import Bank
from training.qwen.evaluate import evaluate
from training.qwen.export import export_model
from training.qwen.language import LanguageModel, text_config
from training.qwen.lessons import ALL, DENSE, LAST, MIXED, MOMENTS
from training.qwen.tokenizer import VOCABULARY
from training.qwen.tower import PAIR, VisionModel, encode, train_tower, vision_config
from training.qwen.train_language import QwenTrainer
from training.trainer import Lesson
from training.workers import launch

STAGES = ("bank", "tower", "encode", "language", "export", "measure")
NANO_QWEN = Path(__file__).parents[1] / "src" / "videox2l" / "nano_qwen"
SIZES: dict[str, FrameSize] = {"bank": SQUARE, "bank-4-3": FOUR_TO_THREE, "bank-16-9": SIXTEEN_TO_NINE}


@dataclass(frozen=True)
class Preset:
    """The size of everything.

    bank_chunks: chunks to render of each of SIZES.
    vision: configuration of the vision encoder.
    tower_steps: how long it is trained.
    language: configuration of the decoder.
    lessons: its curriculum.
    workers: one-thread processes, or one with a GPU.
    device: of the workers, "cpu" or "cuda".
    """

    bank_chunks: tuple[int, int, int]
    vision: Qwen3VLVisionConfig
    tower_steps: int
    language: Qwen3VLTextConfig
    lessons: list[Lesson]
    workers: int
    device: str


PRESETS = {
    "cpu": Preset(
        bank_chunks=(12_000, 3_000, 3_000),
        vision=vision_config(128),
        tower_steps=3000,
        language=text_config(128),
        lessons=[
            Lesson("one-chunk", 500, (1,), 12, DENSE, (3e-3, 4e-3)),
            Lesson("two-chunks", 500, (1, 2, 2), 12, MIXED, (4e-3, 4e-3)),
            Lesson("moments", 1300, (1, 2, 4), 16, MOMENTS, (4e-3, 4e-3)),
            Lesson("ten-chunks", 900, (2, 4, 6, 10, 10), 20, ALL, (4e-3, 3e-3)),
            Lesson("twenty-chunks", 900, (2, 4, 10, 10, 20), 20, ALL, (3e-3, 0.0)),
            Lesson("rounding-off", 350, (2, 4, 10, 10, 20), 20, LAST, (1.5e-3, 0.0)),
        ],
        workers=2,
        device="cpu",
    ),
}


def start_language_model(preset: Preset, vision: VisionModel) -> LanguageModel:
    """A fresh language model that knows the encoder's words."""
    model = LanguageModel(preset.language)
    scale = vision.words.detach().pow(2).mean().sqrt()
    with torch.no_grad():
        model.words.mul_(scale / model.words.pow(2).mean().sqrt())
        times = model.word_table()[VOCABULARY.ids["0:00"] :]
        for table in (model.minutes, model.tens, model.ones, model.waves, model.written):
            table.mul_(scale / times.pow(2).mean().sqrt())
        for word, row in vision.word_rows.items():
            if word in VOCABULARY.ids:
                model.words[VOCABULARY.ids[word]] = vision.words[row]
    return model


def load_vision_model(preset: Preset, out: Path) -> VisionModel:
    """The trained encoder."""
    vision = VisionModel(preset.vision)
    vision.load_state_dict(torch.load(out / "tower.pt", map_location="cpu", weights_only=True))
    return vision.eval().requires_grad_(False)


def load_language_model(preset: Preset, out: Path) -> LanguageModel:
    """The language model of the newest checkpoint."""
    model = LanguageModel(preset.language)
    model.load_state_dict(torch.load(out / "language-latest.pt", map_location="cpu", weights_only=True)["model"])
    return model.eval().requires_grad_(False)


def encode_banks(preset: Preset, out: Path) -> None:
    """Every pair of frames through the encoder -> tokens.pt (chunks, pairs, 1 + depths, tokens, hidden), fp16.

    Every worker takes its share.
    """
    vision = load_vision_model(preset, out).to(torch.get_default_device())
    rank, workers = dist.get_rank(), dist.get_world_size()
    for name in SIZES:
        frames = np.load(out / name / "frames.npy", mmap_mode="r")
        parts = []
        for part in np.array_split(np.array_split(frames, workers)[rank], max(1, len(frames) // (100 * workers))):
            pairs = torch.tensor(part).unflatten(1, (-1, PAIR))  # (chunks, pairs, 2, height, width, 3)
            parts.append(encode(vision, pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2]).half().cpu())
        torch.save(torch.cat(parts), out / name / f"tokens-{rank}.pt")
        dist.barrier()
        if rank == 0:
            shares = [out / name / f"tokens-{share}.pt" for share in range(workers)]
            torch.save(torch.cat([torch.load(share) for share in shares]), out / name / "tokens.pt")
            for share in shares:
                share.unlink()


def open_banks(preset: Preset, out: Path) -> list[tuple[Bank, tuple[int, int]]]:
    """The encoded banks, with the rows and columns of their visual tokens."""
    side = preset.vision.patch_size * preset.vision.spatial_merge_size
    return [(Bank(out / name), (size.height // side, size.width // side)) for name, size in SIZES.items()]


def train_language(preset: Preset, out: Path, seed: int) -> None:
    """One worker of the language stage."""
    torch.manual_seed(seed)
    model = start_language_model(preset, load_vision_model(preset, out))
    banks = open_banks(preset, out)
    QwenTrainer(model, banks, preset.lessons, out, seed=seed).run()


def measure(preset: Preset, out: Path) -> None:
    """Accuracy by task, asked alone and in conversations, at 10 and 20 chunks -> accuracy.json."""
    model, (bank, grid) = load_language_model(preset, out), open_banks(preset, out)[0]
    report = {f"{chunks} chunks": evaluate(model, bank, grid, chunks, videos=240 // chunks) for chunks in (10, 20)}
    (out / "accuracy.json").write_text(json.dumps(report, indent=2) + "\n")


def main() -> None:
    """Run the stages asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory of checkpoints and logs")
    parser.add_argument("--export", type=Path, default=NANO_QWEN, help="checkpoint directory to write")
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--stage", choices=STAGES, nargs="+", default=STAGES[:-1])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    preset, out, seed = PRESETS[options.preset], options.out, options.seed
    out.mkdir(parents=True, exist_ok=True)
    if "bank" in options.stage:
        for number, ((name, size), chunks) in enumerate(zip(SIZES.items(), preset.bank_chunks, strict=True)):
            if not (out / name / "scripts.pt").is_file():
                render_bank(out / name, chunks, seed * 1000 + 100_000 * number, preset.workers, size)
    if "tower" in options.stage and not (out / "tower.pt").is_file():
        banks = [out / name for name in SIZES]
        launch(train_tower, preset.workers, preset.device, banks, out, preset.vision, preset.tower_steps, seed)
    if "encode" in options.stage and not all((out / name / "tokens.pt").is_file() for name in SIZES):
        launch(encode_banks, preset.workers, preset.device, preset, out)
    if "language" in options.stage:
        launch(train_language, preset.workers, preset.device, preset, out, seed)
    if "export" in options.stage:
        export_model(load_vision_model(preset, out), load_language_model(preset, out), options.export)
    if "measure" in options.stage:
        measure(preset, out)


if __name__ == "__main__":
    main()
