"""Several questions about one video: at once, one after the other, and one after the other on the full cache.

    python benchmarks/batching.py [--shape small] [--frames 64] [--questions 8] [--answer-tokens 32] [--repeats 5]

A Qwen2.5-VL of random weights, made here, in fp32 on the CPU: speed does not depend on what the weights are. Its
decoder has the shape of the 0.5B model of that family, or a smaller one for a first try; its vision tower is a small
one, since no frame is encoded for a question. A frame pair has 144 visual tokens. The video is indexed by `keydiff` at
2x and 32x, and once more without compression. Every answer is as long as it may be.

The three ways take turns, repeat by repeat; medians are printed, and how many answers have the same tokens at once and
one after the other. The last line is the same as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from videox2l import FrameArray, Generation, OneLevel, Sampling, VideoIndex, VideoX2L
from videox2l.answering.stream import AnswerStream
from videox2l.compression.pool import Pool
from videox2l.models.load import load_model
from videox2l.store import RamStore
from videox2l.testing.conformance import noise
from videox2l.testing.tiny_models.parts import qwen_ids, qwen_tokenizer

SIDE = 336
"""Pixels; a pair of such frames has 144 visual tokens."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    feed_forward: int
    words: int


SHAPES = {
    "tiny": Shape(layers=4, hidden=128, heads=4, kv_heads=2, feed_forward=512, words=1000),
    "small": Shape(layers=12, hidden=512, heads=8, kv_heads=2, feed_forward=2816, words=32_000),
    "0.5B": Shape(layers=24, hidden=896, heads=14, kv_heads=2, feed_forward=4864, words=151_936),
}


def build(shape: Shape, directory: Path) -> None:
    """Save a random checkpoint: model, tokenizer, processor, chat template."""
    torch.manual_seed(0)
    words = qwen_tokenizer()
    half = shape.hidden // shape.heads // 2
    config = Qwen2_5_VLConfig(
        vision_config=dict(
            depth=2, hidden_size=64, intermediate_size=64, num_heads=2, out_hidden_size=shape.hidden, patch_size=14
        ),
        text_config=dict(
            vocab_size=shape.words,
            hidden_size=shape.hidden,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=32_768,
            rope_parameters=dict(
                rope_type="default", rope_theta=1e6, mrope_section=[half - 2 * (half * 3 // 8), *[half * 3 // 8] * 2]
            ),
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        ),
        tie_word_embeddings=True,
        **qwen_ids(words),
    )
    size = {"shortest_edge": 56 * 56, "longest_edge": SIDE * SIDE}
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(directory)
    Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=size), words, Qwen2VLVideoProcessor(size=size), chat_template=words.chat_template
    ).save_pretrained(directory)


def questions_of(count: int) -> list[str]:
    """So many different questions; the tokenizer gives each letter a token."""
    return [f"{number}. Where is it?" for number in range(1, count + 1)]


@dataclass(frozen=True)
class Ways:
    """The ways to ask the same questions.

    engine, index: with both levels. full, full_index: without compression.
    """

    engine: VideoX2L
    index: VideoIndex
    full: VideoX2L
    full_index: VideoIndex
    questions: list[str]
    generation: Generation

    def at_once(self) -> list[AnswerStream]:
        """All together."""
        scheduler = self.engine.scheduler(sequences=len(self.questions))
        streams = [
            self.engine.stream(self.index, question, generation=self.generation, scheduler=scheduler)
            for question in self.questions
        ]
        scheduler.run()
        return streams

    def in_turn(self) -> list[AnswerStream]:
        """One after the other."""
        return self._in_turn(self.engine, self.index)

    def in_turn_on_the_full_cache(self) -> list[AnswerStream]:
        """One after the other, from a cache that holds every KV; it is kept from question to question."""
        return self._in_turn(self.full, self.full_index)

    def _in_turn(self, engine: VideoX2L, index: VideoIndex) -> list[AnswerStream]:
        streams = []
        for question in self.questions:
            streams.append(engine.stream(index, question, generation=self.generation))
            _ = streams[-1].answer
        return streams


def timed(ways: Ways, repeats: int) -> tuple[dict[str, list[float]], dict[str, list[AnswerStream]]]:
    """Seconds of each way, repeat by repeat, and its last answers."""
    named: dict[str, Callable[[], list[AnswerStream]]] = {
        "at once": ways.at_once,
        "one after the other": ways.in_turn,
        "one after the other, full cache": ways.in_turn_on_the_full_cache,
    }
    seconds: dict[str, list[float]] = {name: [] for name in named}
    answers: dict[str, list[AnswerStream]] = {}
    for repeat in range(repeats + 1):
        for name, ask in named.items():
            started = time.perf_counter()
            answers[name] = ask()
            if repeat:  # the first one warms up
                seconds[name].append(time.perf_counter() - started)
    return seconds, answers


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--shape", choices=SHAPES, default="small", help="the decoder's")
    arguments.add_argument("--frames", type=int, default=64, help="frames of the video, one a second")
    arguments.add_argument("--questions", type=int, default=8, help="how many")
    arguments.add_argument("--answer-tokens", type=int, default=32, help="tokens of every answer")
    arguments.add_argument("--repeats", type=int, default=5, help="how often everything is timed")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        build(SHAPES[given.shape], Path(directory))
        model = load_model(directory, device="cpu", dtype="float32")
    model.eos_ids = ()
    engine = VideoX2L(model, store=RamStore())
    full = replace(engine, compressor=Pool((1,), context="full"), selector=OneLevel())
    video = FrameArray(noise(given.frames, SIDE, SIDE), range(given.frames))
    ways = Ways(
        engine,
        engine.index(video, Sampling(fps=1)),
        full,
        full.index(video, Sampling(fps=1)),
        questions_of(given.questions),
        Generation(given.answer_tokens),
    )
    seconds, answers = timed(ways, given.repeats)
    together, alone = answers["at once"], answers["one after the other"]
    same = sum(one.token_ids == other.token_ids for one, other in zip(together, alone, strict=True))
    result = {
        "benchmark": "batching",
        **vars(given),
        "torch_threads": torch.get_num_threads(),
        "question_tokens": len(model.question_ids(ways.questions[0])),
        "cache_tokens": together[0].answer.cache_tokens,
        "full_cache_tokens": together[0].answer.full_cache_tokens,
        "same_answers": same / given.questions,
        "seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
    }
    print(f"{'':34}{'cache tokens':>13}{'seconds':>9}{'answers/s':>11}{'times':>7}")
    slowest = statistics.median(seconds["one after the other, full cache"])
    for name, values in seconds.items():
        median, tokens = statistics.median(values), answers[name][0].answer.cache_tokens
        print(f"{name:34}{tokens:13}{median:9.2f}{given.questions / median:11.2f}{slowest / median:7.2f}")
    print(f"the same tokens at once and one after the other: {same} of {given.questions} answers")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
