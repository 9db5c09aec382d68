"""Every compressor on the bundled model and on tiny random models of the families: what is left at 2x, 8x and 32x.

    python benchmarks/compressors.py [--videos 8] [--questions 3] [--seconds 100] [--model DIR]
        [--context compressed] [--positions contiguous,original] [--fidelity]

nano is asked for details of fresh needle videos with each compressor in turn: as a plain MLLM, its summary tokens
unused, but for `summary_tokens`, which stands beside them. With several --positions each compressor has a row for each,
and paired differences from the first are printed. With --fidelity it is instead the tiny random models of
`videox2l.testing`: the KL divergence of the next token's distribution from that of the full cache, in nats; their
weights are random, so it says how far the cache is from the full one and not how good the answers are.
Both print a table in Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videox2l import FrameArray, VideoX2L
from videox2l.compression.registry import COMPRESSORS
from videox2l.evaluation.evaluate import EvaluationProgress
from videox2l.evaluation.intervals import Estimate
from videox2l.evaluation.needles import DETAIL_TASKS, NeedleEvaluation, evaluate_needles
from videox2l.evaluation.settings import Setting
from videox2l.index.reload import load_cache
from videox2l.models.load import load_model
from videox2l.store import RamStore
from videox2l.synthesis.plan import NeedleSettings
from videox2l.synthesis.writer import VideoFormat
from videox2l.testing import tiny_models

TINY_RATIOS = (2, 8)  # a tiny model has few visual tokens
QUESTION = "What turns red?"


@dataclass(frozen=True)
class Row:
    """A compressor with one set of settings.

    label: of its row. name: the compressor's. settings: of it, but for the levels.
    """

    label: str
    name: str
    settings: Mapping[str, str]

    def at(self, ratios: tuple[int, ...], oracle: Any) -> list[Setting]:
        """Each ratio everywhere, then the finest and the coarsest with three chunks chosen by an oracle, by chance."""
        one = {ratio: COMPRESSORS.make(self.name, levels=(ratio,), **self.settings) for ratio in ratios}
        two = COMPRESSORS.make(self.name, levels=(ratios[0], ratios[-1]), **self.settings)
        return [
            *(Setting(f"{self.label} {ratio}", compressor) for ratio, compressor in one.items()),
            Setting(f"{self.label} chosen", two, oracle=oracle),
            Setting(f"{self.label} random", two, oracle="random"),
        ]


def rows_of(names: list[str], context: str, positions: list[str]) -> list[Row]:
    """A row for each compressor and each of several positions."""
    rows = []
    for name in names:
        if name == "summary_tokens":
            rows.append(Row(name, name, {}))
            continue
        for place in positions:
            label = name if len(positions) == 1 else f"{name}, {place}"
            rows.append(Row(label, name, {"context": context, "positions": place}))
    return rows


def accuracies(model: str, rows: list[Row], ratios: tuple[int, ...], evaluation: NeedleEvaluation) -> None:
    """Accuracy on needle videos: the mean over the detail tasks for every setting, then task by task."""
    engine = VideoX2L.from_pretrained(model, device="cpu")
    settings = [Setting("full cache", COMPRESSORS.make("pool", levels=(1,), context="full"))]
    for row in rows:
        settings += row.at(ratios, engine.oracle)

    def show(now: EvaluationProgress) -> None:
        if now.answers % 500 == 0:
            print(f"{now.answers} of {now.total_answers} answers", file=sys.stderr)

    result = evaluate_needles(engine, tuple(settings), evaluation, show)
    found = {each.setting.name: each for each in result.settings}
    kinds = [*map(str, ratios), "chosen", "random"]
    full = found["full cache"]
    print(f"{result.model}, {len(result.questions.videos)} videos, {len(full.outcomes)} questions.")
    print(f"Full cache: {percent(full.mean_accuracy.value)} in {full.cache_tokens:.0f} tokens.\n")
    columns = [*(f"{ratio}x" for ratio in ratios), f"{ratios[0]}x/{ratios[-1]}x, {engine.oracle}", "random oracle"]
    print(f"| compressor | {' | '.join(columns)} |")
    print("|---|" + "---:|" * (len(ratios) + 2))
    for row in rows:
        cells = [interval(found[f"{row.label} {kind}"].mean_accuracy) for kind in kinds]
        print(f"| {row.label} | {' | '.join(cells)} |")
    for row in rows:
        first = next(other for other in rows if other.name == row.name)
        if row != first:
            pairs = ((found[f"{row.label} {kind}"], found[f"{first.label} {kind}"]) for kind in kinds)
            print(f"| {row.label}, above the first | {' | '.join(interval(a.difference(b)) for a, b in pairs)} |")
    print(f"\n| at {ratios[0]}x/{ratios[-1]}x | {' | '.join(full.tasks)} | tokens |")
    print("|---|" + "---:|" * (len(full.tasks) + 1))
    chosen = {"full cache": full} | {row.label: found[f"{row.label} chosen"] for row in rows}
    print(f"| most frequent answer | {' | '.join(percent(full.prior(task)) for task in full.tasks)} | |")
    for label, each in chosen.items():
        values = [each.accuracy(task).value for task in full.tasks]
        print(f"| {label} | {' | '.join(map(percent, values))} | {round(each.cache_tokens)} |")


def percent(share: float | None) -> str:
    """A share in whole percent; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.0f}"


def interval(estimate: Estimate) -> str:
    """A share with its 95% interval, in whole percent."""
    return f"{percent(estimate.value)} ({percent(estimate.low)} to {percent(estimate.high)})"


@torch.no_grad()
def fidelity(names: list[str], context: str) -> None:
    """KL divergence from the full cache's next-token distribution, mean over families and questions."""
    noise = torch.rand(12, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    pixels = (torch.nn.functional.interpolate(noise, (72, 88), mode="bilinear") * 255).to(torch.uint8)
    video = FrameArray(pixels, range(len(pixels)))
    questions = [QUESTION, "Which car passes first?", "Count the birds."]
    families = sorted(tiny_models.FAMILIES)
    columns = [(family, ratio) for family in families for ratio in TINY_RATIOS]
    table: dict[str, list[float]] = {name: [] for name in names}
    for family in families:
        with tempfile.TemporaryDirectory() as directory:
            model = load_model(tiny_models.build(family, Path(directory)), device="cpu")
        full = next_tokens(
            model, video, COMPRESSORS.make("pool", levels=(1,), context="full", positions="original"), questions
        )
        for name in names:
            for ratio in TINY_RATIOS:
                compressor = COMPRESSORS.make(name, levels=(ratio,), context=context, positions="original")
                reduced = next_tokens(model, video, compressor, questions)
                divergence = torch.nn.functional.kl_div(reduced, full, log_target=True, reduction="none").sum(-1)
                table[name].append(float(divergence.mean()))
    print(f"| compressor | {' | '.join(f'{family} {ratio}x' for family, ratio in columns)} | mean |")
    print("|---|" + "---:|" * (len(columns) + 1))
    for name, values in table.items():
        mean = sum(values) / len(values)
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} | {mean:.2f} |")


def next_tokens(model: Any, video: FrameArray, compressor: Any, questions: list[str]) -> torch.Tensor:
    """Log-probabilities of the token after each question, (questions, vocabulary)."""
    index = VideoX2L(model, compressor, chunk_frames=6, store=RamStore()).index(video)
    rows = []
    for question in questions:
        cache = load_cache(model, index, compressor.levels * len(index.entries))
        rows.append(model.logits(model.read(model.question_ids(question), cache)[-1:])[0].log_softmax(-1))
    return torch.stack(rows)


def main() -> None:
    """Print the table asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--questions", type=int, default=3, help="of each task and video")
    parser.add_argument("--ratios", default="2,8,32")
    parser.add_argument("--compressors", default=",".join(sorted(set(COMPRESSORS.names) - {"group_pooling"})))
    parser.add_argument("--seconds", type=float, default=100, help="of a video")
    parser.add_argument("--context", default="compressed")
    parser.add_argument("--positions", default="contiguous")
    parser.add_argument("--fidelity", action="store_true")
    given = parser.parse_args()
    names = given.compressors.split(",")
    if given.fidelity:
        fidelity([name for name in names if name != "summary_tokens"], given.context)
        return
    needles = NeedleSettings(
        minutes=given.seconds / 60, seed=4, format=VideoFormat(fps=2), questions=given.questions, tasks=DETAIL_TASKS
    )
    ratios = tuple(int(ratio) for ratio in given.ratios.split(","))
    rows = rows_of(names, given.context, given.positions.split(","))
    accuracies(given.model, rows, ratios, NeedleEvaluation(given.videos, needles))


if __name__ == "__main__":
    main()
