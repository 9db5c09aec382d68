"""How often the chunk where something is said is found by its subtitles, and how often they mislead.

    python benchmarks/subtitles.py [--minutes 5,20,60] [--questions 300] [--nano 20]

Subtitles are English prose, the sentences of Python's own reference (`pydoc_data`) in random order, eight words to a
cue; chunks last 10 seconds. Three kinds of questions are asked about fresh subtitles for every ten of them:

quoted: four to six words in a row, in quotation marks, which are said once in the video.
reworded: seven tenths of a cue's telling words, in another order, each in another form (plural for singular or the
    other way round), among the words of a question.
unrelated: those of nano's needle videos, which have nothing to do with what is said.

The other oracle's scores are drawn: `alike` from 0 to 1, as of one that knows nothing; `sure` no more than 0.35 but for
one chunk that has 1, the needle's where the question is about one. Printed are recall@1 and @3 of the chunk where it is
said or the needle is, with Wilson's 95% intervals, and how many of the three best chunks of `alike` stay the same.

With --nano the bundled model answers instead, about so many needle videos of 100 s with such a file of subtitles beside
each: how often the chunk that was asked for is among the three that are read in detail, with the subtitles and without.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from pydoc_data.topics import topics
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from videox2l import Generation, VideoX2L
from videox2l.evaluation.intervals import wilson
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.oracles.cue_search import small_words
from videox2l.oracles.subtitles import SubtitleOracle
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings
from videox2l.synthesis.writer import VideoFormat
from videox2l.tracks.subtitles import SubtitleTrack
from videox2l.types import Chunk, Cue

CHUNK_S = 10
QUESTIONS_A_VIDEO = 10
ASKING_WITH_QUOTE = (
    'What is shown when the speaker says "{}"?',
    "Who is on screen when the subtitle says '{}'?",
    'What colour is the background at the words "{}"?',
)
ASKING = ("What is on the board while they explain {}?", "Who stands there as she speaks of {}?", "Where is {} told?")


@dataclass(frozen=True)
class Drawn(Oracle):
    """Scores drawn beforehand."""

    scores: Tensor

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        return self.scores


@dataclass(frozen=True)
class Asked:
    """A question, and the chunks that are right; none where nothing that is said answers it."""

    text: str
    index: VideoIndex
    right: frozenset[int]


def sentences() -> list[str]:
    """Those that are prose from end to end."""
    parts = re.split(r"(?<=[.!?])\s+|\n\n", " ".join(topics[name] for name in sorted(topics)))
    plain = (" ".join(part.split()) for part in parts)
    return [part for part in plain if re.fullmatch(r"[A-Za-z ,.'()-]+", part) and 5 <= len(part.split()) <= 30]


def subtitles(prose: list[str], minutes: float, chance: random.Random) -> list[Cue]:
    """Cues that follow each other as in speech, until the video ends."""
    cues: list[Cue] = []
    start_s = 0.0
    for sentence in chance.sample(prose, len(prose)):
        words = sentence.split()
        for at in range(0, len(words), 8):
            text = words[at : at + 8]
            end_s = start_s + 0.35 * len(text) + 0.3
            if end_s > 60 * minutes:
                return cues
            cues.append(Cue(start_s, end_s, " ".join(text)))
            start_s = end_s + chance.choice((0.1, 0.1, 0.5, 2.0))
    return cues


def index_of(cues: list[Cue], minutes: int) -> VideoIndex:
    """As much of an index as the oracle reads."""
    count = 60 * minutes // CHUNK_S
    chunks = tuple(Chunk(i, 10 * i, 10 * i + 10, float(CHUNK_S * i), float(CHUNK_S * (i + 1))) for i in range(count))
    tracks = (SubtitleTrack("prose.srt", None, tuple(cues)),)
    return cast(VideoIndex, SimpleNamespace(entries=chunks, chunks=chunks, subtitles=tracks))


def holding(index: VideoIndex, cue: Cue) -> frozenset[int]:
    return frozenset(chunk.index for chunk in index.chunks if cue.start_s < chunk.end_s and cue.end_s > chunk.start_s)


def plain(text: str) -> str:
    return f" {' '.join(re.findall(r'[a-z]+', text.lower()))} "


def quoted(index: VideoIndex, cue: Cue, chance: random.Random) -> str | None:
    """A question with words of a cue in quotation marks; None if they are said twice or it has too few."""
    words = cue.text.split()
    length = chance.randint(4, 6)
    if len(words) < length:
        return None
    at = chance.randrange(len(words) - length + 1)
    phrase = " ".join(words[at : at + length]).strip(".,()'")
    everything = plain(" ".join(cue.text for cue in index.subtitles[0].cues))
    return chance.choice(ASKING_WITH_QUOTE).format(phrase) if everything.count(plain(phrase)) == 1 else None


def reworded(index: VideoIndex, cue: Cue, chance: random.Random) -> str | None:
    """A question with most of a cue's telling words in other forms and another order; None if it has few."""
    telling = [word for word in plain(cue.text).split() if word not in small_words()["en"] and len(word) > 2]
    if len(telling) < 3:
        return None
    kept = chance.sample(telling, round(0.7 * len(telling)))
    return chance.choice(ASKING).format(" and ".join(word[:-1] if word.endswith("s") else f"{word}s" for word in kept))


def needle_questions(count: int) -> list[str]:
    settings = NeedleSettings(100 / 60, 78, VideoFormat(fps=2), questions=QUESTIONS_A_VIDEO)
    plan = NeedlePlan(settings)
    asked = {question.text: None for video in range(-(-count // 40)) for question in plan.video(video).questions}
    return [*asked][:count]


def asked(kind: str, minutes: int, count: int) -> Iterator[Asked]:
    """So many questions of a kind."""
    prose, unrelated = sentences(), needle_questions(count)
    given = 0
    while given < count:
        chance = random.Random(f"{kind} {minutes} {given}")
        cues = subtitles(prose, minutes, chance)
        index = index_of(cues, minutes)
        for cue in chance.sample(cues, len(cues))[: 10 * QUESTIONS_A_VIDEO]:
            text = unrelated[given % len(unrelated)]
            if kind != "unrelated":
                text = (quoted if kind == "quoted" else reworded)(index, cue, chance) or ""
            if text:
                yield Asked(text, index, frozenset() if kind == "unrelated" else holding(index, cue))
                given += 1
            if text and given % QUESTIONS_A_VIDEO == 0:
                break


def row(kind: str, minutes: int, count: int, other: str) -> str:
    """A row of the table."""
    generator = torch.Generator().manual_seed(0)
    first = third = kept = 0
    for question in asked(kind, minutes, count):
        chunks = len(question.index.chunks)
        scores = torch.rand(chunks, generator=generator) * (1 if other == "alike" else 0.35)
        right = question.right
        if other == "sure":
            needle = int(torch.randint(chunks, (1,), generator=generator))
            scores[needle] = 1
            right = right or frozenset({needle})
        fused = SubtitleOracle(Drawn(scores)).score(cast(Any, None), question.index, question.text).chunks
        best = fused.argsort(descending=True)[:3].tolist()
        first += best[0] in right
        third += not right.isdisjoint(best)
        kept += len({*best} & {*scores.argsort(descending=True)[:3].tolist()})
    at_1, at_3 = interval(first, count), interval(third, count)
    stay = f"{kept / (3 * count):.3f}" if kind == "unrelated" and other == "alike" else ""
    if kind == "unrelated" and other == "alike":
        at_1 = at_3 = ""
    return f"| {minutes} min | {kind} | {other} | {at_1} | {at_3} | {stay} |"


def nano_table(videos: int) -> None:
    """The bundled model with its own encoder and with attention, about needle videos with subtitles beside them."""
    minutes, prose = 100 / 60, sentences()
    form = VideoFormat(fps=2)
    plan = NeedlePlan(NeedleSettings(minutes, 91, form, questions=5, tasks=("attribute", "where")))
    base = VideoX2L.from_pretrained("nano", device="cpu", store="ram")
    counts: dict[tuple[str, str, bool], list[bool]] = {}
    for number in range(videos):
        chance, video = random.Random(number), plan.video(number)
        cues = subtitles(prose, minutes, chance)
        with tempfile.TemporaryDirectory() as directory:
            video.write(Path(directory) / "needles.mp4", form)
            lines = (f"{stamp(cue.start_s)} --> {stamp(cue.end_s)}\n{cue.text}\n" for cue in cues)
            (Path(directory) / "needles.srt").write_text("\n".join(f"1\n{line}" for line in lines))
            index = base.index(Path(directory) / "needles.mp4")
        said = []
        for kind, wording in (("quoted", quoted), ("reworded", reworded)):
            asking = ((wording(index, cue, chance), cue) for cue in chance.sample(cues, min(8, len(cues))))
            said += [(kind, text, cue.start_s) for text, cue in asking if text]
        shown = [("unrelated", question.text, question.needle_times_s[0]) for question in video.questions]
        for oracle in ("contrastive", "attention"):
            for reads in (True, False):
                engine = replace(base, oracle=oracle, reads_subtitles=reads)
                for kind, text, time_s in (*said, *shown):
                    answer = engine.ask(index, text, generation=Generation(max_new_tokens=1))
                    best = sorted(answer.chunks, key=lambda chunk: -(chunk.score or 0))[:3]
                    found = any(chunk.start_s <= time_s < chunk.end_s for chunk in best)
                    counts.setdefault((kind, oracle, reads), []).append(found)
    print("| questions | oracle | asked | recall@3 with subtitles | without |\n| --- | --- | --- | --- | --- |")
    for kind in ("quoted", "reworded", "unrelated"):
        for oracle in ("contrastive", "attention"):
            found_with, found_without = (counts[kind, oracle, reads] for reads in (True, False))
            shares = (interval(sum(found), len(found)) for found in (found_with, found_without))
            print(f"| {kind} | {oracle} | {len(found_with)} | {' | '.join(shares)} |")


def stamp(time_s: float) -> str:
    """A time as .srt files write it."""
    return f"00:{int(time_s) // 60:02d}:{time_s % 60:06.3f}".replace(".", ",")


def interval(right: int, count: int) -> str:
    found = wilson(right, count)
    return f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default="5,20,60")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--nano", type=int, default=0, metavar="VIDEOS")
    options = parser.parse_args()
    if options.nano:
        nano_table(options.nano)
        return
    print(f"{options.questions} questions a row, prose of Python {sys.version.split()[0]}\n")
    print("| video | questions | other scores | recall@1 | recall@3 | of the 3 best of the other, still there |")
    print("| --- | --- | --- | --- | --- | --- |")
    for minutes in map(int, options.minutes.split(",")):
        for kind in ("quoted", "reworded", "unrelated"):
            for other in ("alike", "sure"):
                print(row(kind, minutes, options.questions, other), flush=True)


if __name__ == "__main__":
    main()
