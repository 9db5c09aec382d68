"""How often each oracle finds the chunk that shows what is asked about, and what that costs.

    python benchmarks/oracles.py [--model DIR] [--minutes 1.67,5,20,60] [--videos 8] [--questions 2]
        [--oracles random,uniform,attention,qk,maxsim,probe,cascade,contrastive] [--kept FILE] [--seed 9]

Fresh needle videos are asked for details. Recall@k is the share of the needles' chunks among the k of highest score,
with its 95% interval by a bootstrap over videos; `uniform` is k evenly spaced chunks. Behind it stand the means of
what a question took: bytes read from the store, runs of the decoder, and seconds. An oracle reads its own level, or
the one that is written behind a colon, as in probe:8; "cascade+encoder" shortlists by frame embeddings.
What was measured is kept in a file, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videox2l import VideoIndex, VideoX2L
from videox2l.compression.registry import compressor_for
from videox2l.digest import digest
from videox2l.evaluation.intervals import Estimate, mean_accuracy
from videox2l.evaluation.needles import DETAIL_TASKS, NeedleEvaluation, needle_questions
from videox2l.evaluation.question_set import Item
from videox2l.models.forward import Forward
from videox2l.oracles.base import Oracle
from videox2l.oracles.cascade import Cascade
from videox2l.oracles.registry import ORACLES, make_oracle
from videox2l.selection.base import best_first
from videox2l.selection.even import Even
from videox2l.store import RamStore
from videox2l.store.ram import RamShelf
from videox2l.synthesis.plan import NeedleSettings
from videox2l.synthesis.writer import VideoFormat

KS = (1, 3, 16)
ALL = "random,uniform,attention,qk,maxsim,probe,cascade,contrastive,cascade+encoder"


class CountingStore(RamStore):
    """A store in memory that counts the bytes read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes_read = 0

    def shelf(self, key: str) -> RamShelf:
        """The shelf of a key; what it reads is counted here."""
        if key not in self._shelves:
            self._shelves[key] = CountingShelf(self)
        return self._shelves[key]


class CountingShelf(RamShelf):
    """A shelf that counts for its store."""

    def __init__(self, store: CountingStore) -> None:
        super().__init__()
        self.store = store

    def read(self, part: str, names: Sequence[str]) -> list[Tensor]:
        """The named tensors of a part, counted."""
        tensors = super().read(part, names)
        self.store.bytes_read += sum(tensor.nbytes for tensor in tensors)
        return tensors


@dataclass(frozen=True)
class Choice:
    """One way to choose chunks.

    name: as it is given to the script. choose: k chunks for a question, for each k.
    """

    name: str
    choose: Callable[[VideoIndex, str], dict[int, set[int]]]


def choice_of(name: str, engine: VideoX2L) -> Choice:
    """An oracle by its name, or `uniform`."""
    if name == "uniform":

        def evenly(index: VideoIndex, question: str) -> dict[int, set[int]]:
            return {k: set(Even(k, fine_edges=False).select(None, index).moments) for k in KS}

        return Choice(name, evenly)
    oracle = oracle_of(name, engine)

    def ranked(index: VideoIndex, question: str) -> dict[int, set[int]]:
        best = best_first(oracle.score(engine.model, index, question).chunks)
        return {k: set(best[:k]) for k in KS}

    return Choice(name, ranked)


def oracle_of(name: str, engine: VideoX2L) -> Oracle:
    """An oracle by its name, with a level behind a colon if it has one."""
    if name == "cascade":
        return Cascade()
    if name == "cascade+encoder":
        return Cascade(encoder=engine.encoder)
    kind, _, level = name.partition(":")
    return ORACLES.make(kind, level=int(level)) if level else make_oracle(kind, encoder=engine.encoder)


def measure(
    engine: VideoX2L, choices: Sequence[Choice], evaluation: NeedleEvaluation, kept: Path
) -> Iterator[dict[str, Any]]:
    """A row for every question and choice: from the file, or measured now and kept there."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    known = {row["cell"]: row for row in rows}
    with (
        tempfile.TemporaryDirectory(prefix="videox2l-oracles-") as directory,
        open(kept, "a", encoding="utf-8") as file,
    ):
        for number, video in enumerate(needle_questions(evaluation, Path(directory)).videos):
            about = {"model": engine.model.fingerprint, "levels": engine.compressor.levels, "video": video.identity}
            cells = {
                (item, choice): digest({**about, "choice": choice.name, "question": [item.text, item.times_s]})
                for item in video.items
                for choice in choices
                if item.times_s
            }
            store, index = CountingStore(), None
            for (item, choice), cell in cells.items():
                if cell not in known:
                    if index is None:
                        with video.at_hand() as path:
                            index = replace(engine, store=store).index(path)
                        print(f"{video.name}: {len(index.entries)} chunks in {index.seconds:.0f} s", file=sys.stderr)
                    known[cell] = {"cell": cell, **asked(engine, choice, index, store, item)}
                    print(json.dumps(known[cell]), file=file, flush=True)
                yield {**known[cell], "video": number, "choice": choice.name}


@torch.no_grad()
def asked(engine: VideoX2L, choice: Choice, index: VideoIndex, store: CountingStore, item: Item) -> dict[str, Any]:
    """What one choice finds of one question's chunks, and what it takes."""
    shown = {chunk.index for chunk in index.chunks for at in item.times_s if chunk.start_s <= at < chunk.end_s}
    run, runs = engine.model.run, 0

    def counted(embeddings: Tensor, forward: Forward) -> Tensor:
        nonlocal runs
        runs += 1
        return run(embeddings, forward)

    engine.model.run = counted  # type: ignore[method-assign]
    store.bytes_read, started = 0, time.perf_counter()
    try:
        chosen = choice.choose(index, item.text)
    finally:
        del engine.model.run
    seconds = time.perf_counter() - started
    found = {str(k): len(shown & chunks) / len(shown) for k, chunks in chosen.items()}
    return {"task": item.task, "found": found, "bytes": store.bytes_read, "runs": runs, "seconds": round(seconds, 5)}


def table(rows: Sequence[Mapping[str, Any]], choices: Sequence[Choice]) -> Iterator[str]:
    """Lines of a table in Markdown, an oracle each."""
    yield f"| oracle | {' | '.join(f'recall@{k}' for k in KS)} | MB read | runs | ms |"
    yield "|---|" + "---:|" * (len(KS) + 3)
    videos = 1 + max(row["video"] for row in rows)
    for choice in choices:
        own = [row for row in rows if row["choice"] == choice.name]
        cells = [interval(estimate(own, k, videos)) for k in KS]
        megabytes, runs, seconds = (float(np.mean([row[name] for row in own])) for name in ("bytes", "runs", "seconds"))
        yield f"| {choice.name} | {' | '.join(cells)} | {megabytes / 2**20:.2f} | {runs:.1f} | {1000 * seconds:.0f} |"


def estimate(rows: Sequence[Mapping[str, Any]], k: int, videos: int) -> Estimate:
    """Mean recall@k over questions, with its interval."""
    found, counts = np.zeros((videos, 1)), np.zeros((videos, 1))
    for row in rows:
        found[row["video"]] += row["found"][str(k)]
        counts[row["video"]] += 1
    return mean_accuracy(found, counts)


def interval(value: Estimate) -> str:
    """ ".93 (.90 to .95)"."""
    bounds = "" if value.low is None or value.high is None else f" ({share(value.low)} to {share(value.high)})"
    return share(value.value) + bounds


def share(value: float) -> str:
    """Two digits behind the point."""
    return f"{value:.2f}".removeprefix("0")


def main() -> None:
    """Measure what the file does not hold yet, and print a table for each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="a bundled model, a directory or a hub id")
    parser.add_argument("--minutes", default="1.6667,5,20,60", help="lengths of the videos")
    parser.add_argument("--videos", type=int, default=8, help="of each length")
    parser.add_argument("--questions", type=int, default=2, help="of each task and video")
    parser.add_argument("--oracles", help=f"default: {ALL}, without an encoder those that need none")
    parser.add_argument("--kept", type=Path, default=Path("runs/oracles.jsonl"), help="where what was measured is kept")
    parser.add_argument("--seed", type=int, default=9, help="of the videos")
    given = parser.parse_args()

    engine = VideoX2L.from_pretrained(given.model, device="cpu")
    names = given.oracles.split(",") if given.oracles else ALL.split(",")
    if engine.encoder is None and not given.oracles:
        names = [name for name in names if name not in ("contrastive", "cascade+encoder")]
    asked_levels = {int(level) for _, _, level in (name.partition(":") for name in names) if level}
    levels = sorted({*engine.compressor.levels, *asked_levels, Cascade().level})
    engine = replace(
        engine, compressor=compressor_for(engine.model, levels=tuple(levels)), oracle="random", selector="one_level"
    )
    choices = [choice_of(name, engine) for name in names]
    for minutes in map(float, given.minutes.split(",")):
        needles = NeedleSettings(minutes, given.seed, VideoFormat(fps=2), questions=given.questions, tasks=DETAIL_TASKS)
        rows = list(measure(engine, choices, NeedleEvaluation(given.videos, needles), given.kept))
        asked_of = len(rows) // len(choices)
        print(f"\n{engine.model.name}, {given.videos} videos of {60 * minutes:.0f} s, {asked_of} questions\n")
        print("\n".join(table(rows, choices)), flush=True)


if __name__ == "__main__":
    main()
