"""Every compressor on the bundled model and on tiny random models of the families: what is left at 2x, 8x and 32x.

    python benchmarks/compressors.py [--videos 8] [--questions 3] [--model DIR] [--context compressed] [--fidelity]

nano is asked for details of fresh needle videos with each compressor in turn: as a plain MLLM, its summary tokens
unused, but for `summary_tokens`, which stands beside them. With --fidelity it is instead the tiny random models of
`videox2l.testing`: the KL divergence of the next token's distribution from that of the full cache, in nats; their
weights are random, so it says how far the cache is from the full one and not how good the answers are.
Both print a table in Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from videox2l import FrameArray, VideoX2L
from videox2l.compression.registry import COMPRESSORS
from videox2l.evaluation.needles import EvaluationProgress, NeedleEvaluation, evaluate_needles
from videox2l.evaluation.needles_result import DETAIL_TASKS
from videox2l.evaluation.settings import Setting
from videox2l.index.reload import load_cache
from videox2l.models.load import load_model
from videox2l.synthesis.plan import NeedleSettings
from videox2l.synthesis.writer import VideoFormat
from videox2l.testing import tiny_models

TINY_RATIOS = (2, 8)  # a tiny model has few visual tokens
QUESTION = "What turns red?"


def settings_of(name: str, ratios: tuple[int, ...], context: str, oracle: Any) -> list[Setting]:
    """Each ratio everywhere, then the finest and the coarsest with three chunks chosen by an oracle, and by chance."""
    more: dict[str, Any] = {} if name == "summary_tokens" else {"context": context}
    two_levels = COMPRESSORS.make(name, levels=(ratios[0], ratios[-1]), **more)
    return [
        *(Setting(f"{name} {ratio}", COMPRESSORS.make(name, levels=(ratio,), **more)) for ratio in ratios),
        Setting(f"{name} chosen", two_levels, oracle=oracle),
        Setting(f"{name} random", two_levels, oracle="random"),
    ]


def accuracies(
    model: str, names: list[str], ratios: tuple[int, ...], context: str, evaluation: NeedleEvaluation
) -> None:
    """Accuracy on needle videos: the mean over the detail tasks for every setting, then task by task."""
    engine = VideoX2L.from_pretrained(model, device="cpu")
    settings = [Setting("full cache", COMPRESSORS.make("pool", levels=(1,), context="full"))]
    for name in names:
        settings += settings_of(name, ratios, context, engine.oracle)

    def show(now: EvaluationProgress) -> None:
        if now.answers % 500 == 0:
            print(f"{now.answers} of {now.total_answers} answers", file=sys.stderr)

    result = evaluate_needles(engine, tuple(settings), evaluation, show)
    found = {each.setting.name: each for each in result.settings}
    kinds = [*map(str, ratios), "chosen", "random"]
    full = found["full cache"]
    print(f"{result.model}, {result.videos} videos, {len(full.outcomes)} questions, context {context}.")
    print(f"Full cache: {percent(full.detail_accuracy.value)} in {full.cache_tokens:.0f} tokens.\n")
    columns = [*(f"{ratio}x" for ratio in ratios), f"{ratios[0]}x/{ratios[-1]}x, {engine.oracle}", "random oracle"]
    print(f"| compressor | {' | '.join(columns)} |")
    print("|---|" + "---:|" * (len(ratios) + 2))
    for name in names:
        cells = []
        for kind in kinds:
            each = found[f"{name} {kind}"]
            low, high = each.detail_accuracy.low, each.detail_accuracy.high
            cells.append(f"{percent(each.detail_accuracy.value)} ({percent(low)}-{percent(high)})")
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n| at {ratios[0]}x/{ratios[-1]}x | {' | '.join(full.tasks)} | tokens |")
    print("|---|" + "---:|" * (len(full.tasks) + 1))
    rows = {"most frequent answer": None, "full cache": full} | {name: found[f"{name} chosen"] for name in names}
    for name, row in rows.items():
        values = [full.prior(task) if row is None else row.accuracy(task).value for task in full.tasks]
        print(f"| {name} | {' | '.join(map(percent, values))} | {'' if row is None else round(row.cache_tokens)} |")


def percent(share: float | None) -> str:
    """A share in whole percent; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.0f}"


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
    index = VideoX2L(model, compressor, chunk_frames=6).index(video)
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
    parser.add_argument("--context", default="compressed")
    parser.add_argument("--fidelity", action="store_true")
    given = parser.parse_args()
    names = given.compressors.split(",")
    if given.fidelity:
        fidelity([name for name in names if name != "summary_tokens"], given.context)
        return
    needles = NeedleSettings(
        minutes=100 / 60, seed=4, format=VideoFormat(fps=2), questions=given.questions, tasks=DETAIL_TASKS
    )
    ratios = tuple(int(ratio) for ratio in given.ratios.split(","))
    accuracies(given.model, names, ratios, given.context, NeedleEvaluation(given.videos, needles))


if __name__ == "__main__":
    main()
