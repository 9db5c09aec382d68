"""transformers' multimodal LLMs: with every KV kept they are themselves; chunk by chunk, from mp4 to answer."""

from __future__ import annotations

import inspect
import json
import math
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    Blip2Config,
    Gemma3Config,
    Qwen2Config,
    Qwen3_5Config,
)
from transformers.video_utils import VideoMetadata
from videos import write_video

from videox2l import FrameArray, VideoX2L
from videox2l.answering.generation import Generation, generate
from videox2l.cli import main
from videox2l.compression.pool import Pool
from videox2l.errors import ModelError, SettingsError
from videox2l.index.reload import load_cache
from videox2l.index.video_index import VideoIndex
from videox2l.models.base import Decoding
from videox2l.models.load import load_model
from videox2l.testing import tiny_models as hf_models
from videox2l.video import Sampling

QUESTION = "What turns red?"
FRAMES = 12
EVERY_KV = Pool(levels=(1,), context="full", positions="original")


@pytest.fixture(scope="module", params=sorted(hf_models.FAMILIES))
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_models.build(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(directory: Path):
    return load_model(directory, device="cpu")


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    noise = torch.rand(FRAMES, 3, 9, 11, generator=torch.Generator().manual_seed(1))
    return (torch.nn.functional.interpolate(noise, (72, 88), mode="bilinear") * 255).to(torch.uint8)


def index(model, pixels: torch.Tensor, **settings) -> tuple[VideoX2L, VideoIndex]:
    engine = VideoX2L(model, **{"compressor": Pool(levels=(2, 4)), **settings})
    video = FrameArray(pixels, [float(second) for second in range(len(pixels))])
    return engine, engine.index(video, Sampling(fps=1))


def answer_ids(model, made: VideoIndex, levels: tuple[int, ...], positions, tokens: int = 8) -> list[int]:
    cache = load_cache(model, made, levels, positions)
    return list(generate(model, cache, model.question_ids(QUESTION), Generation(max_new_tokens=tokens)))


def last_logits(model, made: VideoIndex, levels: tuple[int, ...], positions) -> torch.Tensor:
    cache = load_cache(model, made, levels, positions)
    return model.logits(model.read(model.question_ids(QUESTION), cache)[-1:])[0]


class Reference:
    """The class itself, with its own processor, on the same frames."""

    def __init__(self, directory: Path, pixels: torch.Tensor):
        self.model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
        processor = AutoProcessor.from_pretrained(directory)
        content = [{"type": "video"}, {"type": "text", "text": QUESTION}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        metadata = VideoMetadata(
            total_num_frames=len(pixels), fps=1.0, duration=float(len(pixels)), frames_indices=list(range(len(pixels)))
        )
        self.inputs = processor(
            text=[text], videos=[pixels], video_metadata=[metadata], do_sample_frames=False, return_tensors="pt"
        )
        if self.model.config.model_type == "qwen3_vl":
            self.leave_out_the_outer_marks()

    def leave_out_the_outer_marks(self) -> None:
        """The processor Qwen3-VL was published with has the frames' vision marks alone; 5.23 leaves a pair around."""
        ids = self.inputs["input_ids"][0].tolist()
        opening, closing = self.model.config.vision_start_token_id, self.model.config.vision_end_token_id
        outer = {ids.index(opening), len(ids) - 1 - ids[::-1].index(closing)}
        kept = [place for place in range(len(ids)) if place not in outer]
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            self.inputs[name] = self.inputs[name][:, kept]

    @torch.no_grad()
    def logits(self) -> torch.Tensor:
        return self.model(**self.inputs, **self.right_positions(self.inputs)).logits[0, -1]

    @torch.no_grad()
    def answer_ids(self, tokens: int = 8) -> list[int]:
        if self.right_positions(self.inputs):  # generate would use the wrong ones
            return self.answer_ids_without_cache(tokens)
        out = self.model.generate(**self.inputs, max_new_tokens=tokens, do_sample=False)
        ids = out[0, self.inputs["input_ids"].shape[1] :].tolist()
        eos = self.model.generation_config.eos_token_id
        return ids[: ids.index(eos)] if eos in ids else ids

    def right_positions(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """M-RoPE positions as the papers have them; transformers 5.23 puts text inside those of a long video."""
        if not hasattr(self.model.model, "get_rope_index"):
            return {}
        known = inspect.signature(self.model.model.get_rope_index).parameters
        own, _ = self.model.model.get_rope_index(**{name: inputs[name] for name in known if name in inputs})
        _, sizes = inputs["mm_token_type_ids"][0].unique_consecutive(return_counts=True)
        right, following = [], 0
        for run in own.split(sizes.tolist(), dim=-1):  # text or frames: each begins behind all that came before
            right.append(run - run.min() + following)
            following = int(right[-1].max()) + 1
        positions = torch.cat(right, dim=-1)
        return {} if torch.equal(positions, own) else {"position_ids": positions}

    def answer_ids_without_cache(self, tokens: int) -> list[int]:
        """Greedy decoding, a whole forward for every token."""
        answer: list[int] = []
        inputs = dict(self.inputs)
        for _ in range(tokens):
            token = self.model(**inputs, **self.right_positions(inputs)).logits[0, -1].argmax()
            if int(token) == self.model.generation_config.eos_token_id:
                break
            answer.append(int(token))
            inputs["input_ids"] = torch.cat([inputs["input_ids"], token.view(1, 1)], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, 1))
        return answer


@pytest.fixture(scope="module")
def reference(directory: Path, pixels: torch.Tensor) -> Reference:
    return Reference(directory, pixels)


@pytest.mark.parametrize("chunk_frames", [2, 4, 10, 12])
@torch.no_grad()
def test_with_every_kv_kept_the_model_is_itself(model, pixels, reference, chunk_frames):
    _, made = index(model, pixels, compressor=EVERY_KV, chunk_frames=chunk_frames)
    levels = (1,) * len(made.entries)
    assert made.full_tokens + len(model.question_ids(QUESTION)) == reference.inputs["input_ids"].shape[1]
    torch.testing.assert_close(last_logits(model, made, levels, "original"), reference.logits(), atol=1e-4, rtol=0)
    assert answer_ids(model, made, levels, "original") == reference.answer_ids()


@pytest.mark.parametrize("context", ["compressed", "full"])
def test_a_later_frame_changes_no_earlier_kv(model, pixels, context):
    """Not by a bit: the encoder and the decoder see a chunk when it comes, and nothing behind it."""
    compressor = Pool(levels=(1, 4), context=context)
    touched = pixels.clone()
    touched[9, 0, 36, 44] ^= 255
    before, after = (index(model, video, compressor=compressor, chunk_frames=4)[1] for video in (pixels, touched))
    for level in (1, 4):
        for chunk in range(3):
            old, new = before.kv(chunk, level), after.kv(chunk, level)
            same = torch.equal(old.keys, new.keys) and torch.equal(old.values, new.values)
            assert same == (chunk < 2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 60, fps=10)  # 6 s of 96x48


def test_a_saved_checkpoint_answers_on_the_command_line(directory, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIDEOX2L_CACHE", str(tmp_path))
    arguments = ["ask", clip, QUESTION, "--model", directory, "--fps", 2, "--chunk-frames", 4, "--max-new-tokens", 4]
    monkeypatch.setattr(sys, "argv", ["videox2l", *map(str, arguments), "--levels", "2,4", "--json"])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert not exit_info.value.code
    answer = json.loads(capsys.readouterr().out)
    assert [chunk["end_s"] for chunk in answer["chunks"]] == [2, 4, 6]
    assert answer["cache_tokens"] < answer["full_cache_tokens"]


@pytest.mark.parametrize("oracle", ["attention", "qk", "probe", "fusion"])
def test_the_models_own_oracles_score_it(model, pixels, oracle):
    engine, made = index(model, pixels, chunk_frames=4, oracle=oracle)
    scores = [chunk.score for chunk in engine.ask(made, QUESTION).chunks]
    assert len(scores) == 3
    assert all(math.isfinite(score) for score in scores)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_answers_nearly_as_full(directory, model, pixels, dtype):
    half = load_model(directory, device="cpu", dtype=dtype)
    _, made = index(model, pixels, compressor=EVERY_KV, chunk_frames=4)
    _, half_made = index(half, pixels, compressor=EVERY_KV, chunk_frames=4)
    assert half_made.kv(0, 1).keys.dtype == half.dtype
    levels = (1,) * len(made.entries)
    with torch.no_grad():
        exact = last_logits(model, made, levels, "original")
        rounded = last_logits(half, half_made, levels, "original")
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.98


@torch.no_grad()
def test_a_chat_goes_on_behind_the_video(model, pixels):
    engine, made = index(model, pixels, chunk_frames=4)
    chat = engine.chat(made)
    chat.ask(QUESTION, generation=Generation(max_new_tokens=2))
    ids = model.question_ids("And then?", tuple(chat.turns))
    text = model.tokenizer.decode(ids)
    assert text.index(QUESTION) < text.index("And then?")
    assert model.video_mark not in text


def test_frames_of_any_size_are_taken(model):
    for height, width in ((1, 64), (300, 20)):
        blank = torch.zeros(3, 3, height, width, dtype=torch.uint8)
        engine, made = index(model, blank, compressor=Pool(levels=(1,)), chunk_frames=2)
        assert engine.ask(made, QUESTION).full_cache_tokens > 0


def test_levels_beyond_a_chunks_tokens_are_refused(model, pixels):
    with pytest.raises(SettingsError, match="level 500 is not possible: a chunk of 2 frames has"):
        index(model, pixels, compressor=Pool(levels=(2, 500)), chunk_frames=2)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Decoding()),
        ({"repetition_penalty": 1.05, "do_sample": True, "temperature": 1e-6}, Decoding(1e-6, 50, 1.0, 1.05)),
        ({"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20}, Decoding(0.7, 20, 0.8, 1.0)),
        ({"do_sample": True}, Decoding(1.0, 50, 1.0, 1.0)),
        ({"temperature": 0.7, "top_k": 20}, Decoding()),  # without do_sample transformers decodes greedily
    ],
    ids=str,
)
def test_a_checkpoints_generation_config_is_taken_over(tmp_path, settings, expected):
    directory = hf_models.build("llava_onevision", tmp_path)
    file = directory / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    assert load_model(directory, device="cpu").decoding == expected


def config_only(directory: Path, config) -> Path:
    config.save_pretrained(directory)
    return directory


def test_models_that_can_not_be_driven_say_why(tmp_path):
    with pytest.raises(ModelError, match=r"text-only model \(qwen2\).*adapters for internvl, llava_next_video, llava"):
        load_model(config_only(tmp_path / "text", Qwen2Config()), device="cpu")
    with pytest.raises(ModelError, match="sliding_attention layers"):
        load_model(config_only(tmp_path / "gemma", Gemma3Config()), device="cpu")
    with pytest.raises(ModelError, match="linear_attention layers"):
        load_model(config_only(tmp_path / "linear", Qwen3_5Config()), device="cpu")
    with pytest.raises(ModelError, match=r"'blip-2'.*no adapter.*docs/adding-a-model.md"):
        load_model(config_only(tmp_path / "other", Blip2Config()), device="cpu")


def test_a_checkpoint_that_lacks_something_says_what(directory, tmp_path):
    if "smolvlm" in directory.name:
        return  # has a template of its own for videos
    for name in ("weights", "template", "tokenizer"):
        shutil.copytree(directory, tmp_path / name)
    (tmp_path / "weights" / "model.safetensors").unlink()
    (tmp_path / "template" / "chat_template.jinja").unlink()
    for file in (tmp_path / "tokenizer").glob("tokenizer*"):
        file.unlink()
    for name, message in (("weights", "no .*safetensors"), ("template", "no chat template"), ("tokenizer", "no token")):
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path / name, device="cpu")
