"""Peak memory of indexing a video into the disk store, and of one ten times longer: it must not grow.

    python benchmarks/index_memory.py [--minutes 2] [--model DIR] [--context-tokens N]

Each video is indexed in a process of its own; its peak is the kernel's high-water mark of resident memory (VmHWM).
What a chunk sees of the video before it is bounded by the model's context; here by 512 tokens, which the shorter
video fills too, so that any growth is growth with length.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from videox2l import SummaryTokens, VideoX2L
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings

TIMES_LONGER = 10


def peak_mb() -> float:
    """The most memory this process ever had resident, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def index_one(model: str, video: str, store: str, context_tokens: int) -> dict[str, float]:
    """Index one video in this process and measure it."""
    engine = VideoX2L.from_pretrained(
        model, device="cpu", store=store, compressor=SummaryTokens(context_tokens=context_tokens)
    )
    loaded_mb, started = peak_mb(), time.perf_counter()
    index = engine.index(video)
    seconds = time.perf_counter() - started
    stored = sum(file.stat().st_size for file in Path(store).rglob("*.*")) / 2**20
    return {
        "minutes": index.duration_s / 60,
        "chunks": len(index.entries),
        "loaded_mb": loaded_mb,
        "peak_mb": peak_mb(),
        "stored_mb": stored,
        "seconds": seconds,
    }


def main() -> None:
    """Index both videos and print what they took."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--minutes", type=float, default=2, help="length of the shorter video")
    arguments.add_argument("--model", default="nano", help="a checkpoint directory or hub id")
    arguments.add_argument("--context-tokens", type=int, default=512, help="tokens a chunk sees of the video before")
    arguments.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child:
        model, video, store = given.child
        print(json.dumps(index_one(model, video, store, given.context_tokens)))
        return

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        rows = []
        for name, times in (("short", 1), ("long", TIMES_LONGER)):
            video, needles = place / f"{name}.mp4", NeedleSettings(minutes=given.minutes * times)
            NeedlePlan(needles).video(0).write(video, needles.format)
            command = [sys.executable, __file__, "--child", given.model, str(video), str(place / name)]
            command += ["--context-tokens", str(given.context_tokens)]
            ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(ran.stdout.splitlines()[-1]))
    short, long = rows
    growth = long["peak_mb"] / short["peak_mb"] - 1
    model = Path(given.model).name
    result = {"benchmark": "index_memory", "model": model, "short": short, "long": long, "growth": growth}
    print(json.dumps(result))
    print(f"{'':>8}{'minutes':>9}{'chunks':>8}{'loaded MB':>11}{'peak MB':>9}{'stored MB':>11}{'seconds':>9}")
    for name, row in (("short", short), ("long", long)):
        print(
            f"{name:>8}{row['minutes']:>9.1f}{row['chunks']:>8.0f}{row['loaded_mb']:>11.0f}{row['peak_mb']:>9.0f}"
            f"{row['stored_mb']:>11.1f}{row['seconds']:>9.1f}"
        )
    print(f"peak memory of the long video: {growth:+.1%} (at most +5%)")


if __name__ == "__main__":
    main()
