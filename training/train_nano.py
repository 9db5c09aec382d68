"""Train nano from nothing: python -m training.train_nano --out runs/nano [--preset cpu|gpu] [--stage STAGE ...]

Five stages, each reading what the one before left in --out; without --stage all run, and what was done is kept:

  bank         render some thousand ten-second chunks of needle video, degraded as cameras and codecs do
  tower        vision tower and projector, classifying every visual token against a table of words; then frozen
  encode       all of the bank through the tower, once
  language     the decoder and its summary tokens on videos composed of encoded chunks, by a curriculum; resumable
  contrastive  the head behind the contrastive oracle, on the same visual tokens
  export       the checkpoint directory that ships, in --export

Curves are written to tower.jsonl, language.jsonl and contrastive.jsonl. Stages are
measured in steps and everything is drawn from --seed, so a second training is the same but for rounding.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.bank import render_bank
from training.evaluate import evaluate
from training.export import export_model
from training.language import VOCABULARY, LanguageModel, nano_config
from training.lessons import ALL, DENSE, MIXED, TIMES, Bank
from training.timed_head import ContrastiveHead, export_contrastive, recall, train_contrastive
from training.tower import VisionModel, encode, train_tower
from training.train_language import NanoTrainer
from training.trainer import Lesson
from training.workers import launch
from videox2l.models.video_xl.config import VideoXLConfig
from videox2l.models.video_xl.conv_tower import ConvTowerConfig

STAGES = ("bank", "tower", "encode", "language", "contrastive", "export")
NANO = Path(__file__).parents[1] / "src" / "videox2l" / "nano"


@dataclass(frozen=True)
class Preset:
    """The size of everything.

    bank_chunks: chunks to render.
    tower: configuration of the vision tower.
    tower_steps: how long tower and projector are trained.
    language: configuration of the language model.
    lessons: its curriculum.
    workers: one-thread processes, or one with a GPU.
    device: of the workers, "cpu" or "cuda".
    contrastive_steps: how long the contrastive head is trained.
    """

    bank_chunks: int
    tower: ConvTowerConfig
    tower_steps: int
    language: VideoXLConfig
    lessons: list[Lesson]
    workers: int
    device: str
    contrastive_steps: int


PRESETS = {
    "cpu": Preset(
        bank_chunks=12_000,
        tower=ConvTowerConfig(),
        tower_steps=4000,
        language=nano_config(),
        lessons=[
            Lesson("one-chunk", 490, (1,), 40, DENSE, (3e-3, 4e-3)),
            Lesson("two-chunks", 1150, (1, 2, 2), 40, MIXED, (4e-3, 4e-3)),
            Lesson("four-chunks", 1110, (1, 2, 3, 4), 40, ALL, (4e-3, 4e-3)),
            Lesson("look-up", 760, (1, 2, 2, 4), 40, TIMES, (4e-3, 4e-3)),
            Lesson("ten-chunks", 4550, (2, 4, 6, 8, 10, 10, 16), 40, ALL, (4e-3, 0.0)),
        ],
        workers=2,
        device="cpu",
        contrastive_steps=6000,
    ),
    "gpu": Preset(
        bank_chunks=40_000,
        tower=ConvTowerConfig(channels=(48, 96, 192, 256)),
        tower_steps=6000,
        language=nano_config(hidden=256, layers=6, heads=8, kv_heads=4, mlp=704),
        lessons=[
            Lesson("one-chunk", 490, (1,), 320, DENSE, (2e-3, 3e-3)),
            Lesson("two-chunks", 1150, (1, 2, 2), 320, MIXED, (3e-3, 3e-3)),
            Lesson("four-chunks", 1110, (1, 2, 3, 4), 320, ALL, (3e-3, 3e-3)),
            Lesson("look-up", 760, (1, 2, 2, 4), 320, TIMES, (3e-3, 3e-3)),
            Lesson("thirty-chunks", 6000, (2, 4, 8, 10, 16, 30), 320, ALL, (3e-3, 0.0)),
        ],
        workers=1,
        device="cuda",
        contrastive_steps=9000,
    ),
}


def start_language_model(preset: Preset, vision: VisionModel) -> LanguageModel:
    """A fresh language model that knows the tower's words."""
    model = LanguageModel(preset.language)
    scale = vision.words.detach().pow(2).mean().sqrt()
    with torch.no_grad():
        for table in (model.words, model.minutes, model.tens, model.ones):
            table.mul_(scale / table.pow(2).mean().sqrt())
        for word, row in vision.word_rows.items():
            model.words[VOCABULARY.ids[word]] = vision.words[row]
    return model


def load_vision_model(preset: Preset, out: Path) -> VisionModel:
    """The trained tower."""
    vision = VisionModel(preset.tower, preset.language.hidden_size)
    vision.load_state_dict(torch.load(out / "tower.pt", map_location="cpu", weights_only=True))
    return vision.eval().requires_grad_(False)


def load_language_model(preset: Preset, out: Path) -> LanguageModel:
    """The language model of the newest checkpoint."""
    model = LanguageModel(preset.language)
    model.load_state_dict(torch.load(out / "language-latest.pt", map_location="cpu", weights_only=True)["model"])
    return model.eval().requires_grad_(False)


def encode_bank(preset: Preset, out: Path) -> None:
    """Every frame of the bank through the tower -> bank/tokens.pt (chunks, 10, 4, hidden), fp16."""
    vision = load_vision_model(preset, out).to(torch.get_default_device())
    frames = np.load(out / "bank" / "frames.npy", mmap_mode="r")
    parts = np.array_split(frames, max(1, len(frames) // 100))
    tokens = [
        encode(vision, torch.tensor(part).flatten(0, 1)).unflatten(0, part.shape[:2]).half().cpu() for part in parts
    ]
    torch.save(torch.cat(tokens), out / "bank" / "tokens.pt")


def train_language(preset: Preset, out: Path, seed: int) -> None:
    """One worker of the language stage."""
    torch.manual_seed(seed)
    model = start_language_model(preset, load_vision_model(preset, out))
    NanoTrainer(model, Bank(out / "bank"), preset.lessons, out, seed=seed).run()


def train_head(preset: Preset, out: Path, seed: int) -> None:
    """The contrastive stage."""
    bank, table = Bank(out / "bank"), load_language_model(preset, out).word_table()
    head = train_contrastive(bank, table, preset.contrastive_steps, seed, out)
    torch.save(head.state_dict(), out / "contrastive.pt")
    report = {f"{chunks} chunks": recall(head, bank, table, chunks, videos=60) for chunks in (10, 20)}
    (out / "recall.json").write_text(json.dumps(report, indent=2) + "\n")


def export(preset: Preset, out: Path, directory: Path) -> None:
    """Write the checkpoint directory; the head only where it is trained."""
    model = load_language_model(preset, out)
    export_model(load_vision_model(preset, out), model, directory)
    if (out / "contrastive.pt").is_file():
        head = ContrastiveHead(preset.language.hidden_size)
        head.load_state_dict(torch.load(out / "contrastive.pt", weights_only=True))
        export_contrastive(head, directory / "contrastive")


def measure(preset: Preset, out: Path) -> None:
    """Accuracy by setting and task at 10 and 20 chunks -> accuracy.json."""
    model, bank = load_language_model(preset, out), Bank(out / "bank")
    report = {f"{chunks} chunks": evaluate(model, bank, chunks, videos=48, per_task=4) for chunks in (10, 20)}
    (out / "accuracy.json").write_text(json.dumps(report, indent=2) + "\n")


def main() -> None:
    """Run the stages asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory of checkpoints and logs")
    parser.add_argument("--export", type=Path, default=NANO, help="checkpoint directory to write")
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--stage", choices=(*STAGES, "measure"), nargs="+", default=STAGES)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    preset, out, seed = PRESETS[options.preset], options.out, options.seed
    out.mkdir(parents=True, exist_ok=True)
    if "bank" in options.stage and not (out / "bank" / "scripts.pt").is_file():
        render_bank(out / "bank", preset.bank_chunks, seed * 1000, preset.workers)
    if "tower" in options.stage and not (out / "tower.pt").is_file():
        hidden = preset.language.hidden_size
        settings = (preset.tower, hidden, preset.tower_steps, seed)
        launch(train_tower, preset.workers, preset.device, out / "bank", out, *settings)
    if "encode" in options.stage and not (out / "bank" / "tokens.pt").is_file():
        launch(encode_bank, 1, preset.device, preset, out)
    if "language" in options.stage:
        launch(train_language, preset.workers, preset.device, preset, out, seed)
    if "contrastive" in options.stage:
        train_head(preset, out, seed)
    if "export" in options.stage:
        export(preset, out, options.export)
    if "measure" in options.stage:
        measure(preset, out)


if __name__ == "__main__":
    main()
