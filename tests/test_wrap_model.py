"""A model that is in memory already is driven as it is: with its adapters, on its devices, and given back as it was."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    Blip2Config,
    Blip2ForConditionalGeneration,
    PreTrainedModel,
    TorchAoConfig,
)

from videox2l import FrameArray, VideoX2L
from videox2l.compression.pool import Pool
from videox2l.errors import ModelError
from videox2l.kv.cache import KVCache
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.models.hugging_face import HuggingFaceMLLM
from videox2l.models.load import load_model, wrap_model
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.testing import tiny_models

QUESTION = "What turns red?"


@pytest.fixture(scope="module", params=sorted(tiny_models.FAMILIES))
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build("qwen3_vl", tmp_path_factory.mktemp("qwen3_vl"))


def held(directory: Path, **settings: Any) -> tuple[Any, Any]:
    """A model and its processor as a user holds them."""
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32, **settings)
    return model, AutoProcessor.from_pretrained(directory)


def loaded(directory: Path, **settings: Any) -> HuggingFaceMLLM:
    """A checkpoint by its adapter."""
    model = load_model(directory, **settings)
    assert isinstance(model, HuggingFaceMLLM)
    return model


def scores(model: MLLM) -> torch.Tensor:
    """Logits behind a short video and a question, through chunks, store and cache."""
    noise = torch.rand(4, 3, 9, 11, generator=torch.Generator().manual_seed(1))
    pixels = (nn.functional.interpolate(noise, (72, 88), mode="bilinear") * 255).to(torch.uint8)
    engine = VideoX2L(model, compressor=Pool(levels=(2, 4)), chunk_frames=2)
    made = engine.index(FrameArray(pixels, [0.0, 1.0, 2.0, 3.0]))
    with torch.no_grad():
        cache = model.new_cache(0)
        cache.append(made.prompt)
        for chunk in range(len(made.entries)):
            cache.append(made.kv(chunk, 2))
        return model.logits(model.read(model.question_ids(QUESTION), cache))


def test_a_model_in_memory_is_what_its_checkpoint_is(directory: Path) -> None:
    model, processor = held(directory)
    wrapped = wrap_model(model, processor)
    assert wrapped.name == str(directory)
    assert wrapped.directory is None
    torch.testing.assert_close(scores(wrapped), scores(load_model(directory, device="cpu")))


def test_it_is_named_as_one_likes(qwen: Path) -> None:
    assert wrap_model(*held(qwen), name="ours").name == "ours"


@torch.no_grad()
def own_logits(model: PreTrainedModel) -> torch.Tensor:
    return model(input_ids=torch.arange(5)[None]).logits


def test_the_model_is_given_back_as_it_was(directory: Path) -> None:
    model, processor = held(directory, attn_implementation="eager")
    model.train()
    frozen = next(model.parameters()).requires_grad_(False)
    template = processor.tokenizer.chat_template
    before = own_logits(model.eval())
    model.train()
    model.get_decoder().norm.eval()
    wrapped = wrap_model(model, processor)
    scores(wrapped)
    assert not any(parameter.requires_grad or module.training for module, parameter in every_parameter(model))
    assert wrapped.release() is model
    assert model.training and not model.get_decoder().norm.training
    assert not frozen.requires_grad
    assert all(parameter.requires_grad for _, parameter in every_parameter(model) if parameter is not frozen)
    assert model.get_decoder().config._attn_implementation == "eager"
    assert processor.tokenizer.chat_template == template
    assert torch.equal(own_logits(model.eval()), before)
    wrapped.release()  # once is enough, and twice does no harm


def every_parameter(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Parameter]]:
    return ((module, parameter) for module in model.modules() for parameter in module.parameters(recurse=False))


def test_a_model_that_was_released_can_be_driven_again(qwen: Path) -> None:
    model, processor = held(qwen)
    first = wrap_model(model, processor)
    expected = scores(first)
    first.release()
    torch.testing.assert_close(scores(wrap_model(model, processor)), expected)


def test_several_adapters_drive_one_model(qwen: Path) -> None:
    model, processor = held(qwen)
    before = own_logits(model)
    first, second = wrap_model(model, processor), wrap_model(model, processor)
    assert first.fingerprint == second.fingerprint
    torch.testing.assert_close(scores(first), scores(second))
    second.release()
    assert torch.equal(own_logits(model), before)


def test_a_model_that_is_refused_stays_as_it_was(qwen: Path) -> None:
    model, processor = held(qwen)
    before = own_logits(model)
    processor.chat_template = processor.tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        wrap_model(model, processor)
    assert torch.equal(own_logits(model), before)


def test_a_model_whose_decoder_does_not_pass_its_check_stays_as_it_was(qwen: Path) -> None:
    model, processor = held(qwen)
    runs = itertools.count()
    model.get_decoder().layers[0].register_forward_hook(lambda module, inputs, output: output + next(runs))
    with pytest.raises(ModelError, match="departs from itself"):
        wrap_model(model, processor)
    assert torch.isfinite(own_logits(model)).all()
    assert model.get_decoder().config._attn_implementation == "sdpa"
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_processors_chat_template_comes_before_the_tokenizers(qwen: Path) -> None:
    """That of a tokenizer may be the text model's, which has no place for a video."""
    model, processor = held(qwen)
    expected = wrap_model(model, processor).question_ids(QUESTION)
    processor.tokenizer.chat_template = "{% for message in messages %}text alone{% endfor %}"
    assert torch.equal(wrap_model(model, processor).question_ids(QUESTION), expected)


@pytest.mark.parametrize(
    ("take", "missing"),
    [
        (lambda processor: None, "NoneType.* no tokenizer and no video_processor"),
        (lambda processor: processor.tokenizer, "no tokenizer and no video_processor"),
        (lambda processor: processor.video_processor, "no tokenizer and no video_processor"),
        (lambda processor: delete(processor, "video_processor"), "no video_processor: pass processor=AutoProcessor"),
    ],
)
def test_a_processor_that_lacks_something_says_what(qwen: Path, take: Callable[[Any], object], missing: str) -> None:
    model, processor = held(qwen)
    with pytest.raises(ModelError, match=missing):
        wrap_model(model, take(processor))


def delete(part: object, name: str) -> object:
    delattr(part, name)
    return part


def test_what_is_no_model_that_can_be_driven_is_refused(qwen: Path, video_xl: VideoXL) -> None:
    model, processor = held(qwen)
    for other in (nn.DataParallel(model), video_xl, "org/model"):
        with pytest.raises(ModelError, match="is not a model of transformers"):
            wrap_model(other, processor)
    with torch.device("meta"):
        other = Blip2ForConditionalGeneration(Blip2Config())
    with pytest.raises(ModelError, match=r"model type 'blip-2' of Blip2For\S+ \(vision\) has no adapter"):
        wrap_model(other, processor)


def test_the_fingerprint_is_that_of_the_weights(qwen: Path) -> None:
    model, processor = held(qwen)
    first = wrap_model(model, processor).fingerprint
    assert wrap_model(*held(qwen)).fingerprint == first
    shorter = AutoProcessor.from_pretrained(qwen)
    shorter.video_processor.size = {"shortest_edge": 64 * 64, "longest_edge": 6 * 72 * 72}
    others = {
        "half precision": wrap_model(model.bfloat16(), processor),
        "another processor": wrap_model(held(qwen)[0], shorter),
        "a template": wrap_model(held(qwen)[0], with_template(AutoProcessor.from_pretrained(qwen))),
    }
    for change in (a_value, two_rows, a_bias, a_setting):
        model, processor = held(qwen)
        with torch.no_grad():
            change(model)
        others[change.__name__] = wrap_model(model, processor)
    assert len({first, *(other.fingerprint for other in others.values())}) == 1 + len(others)


def with_template(processor):
    processor.chat_template += " "
    return processor


def a_value(model: PreTrainedModel) -> None:
    model.get_input_embeddings().weight[123, 7] *= 1.001


def two_rows(model: PreTrainedModel) -> None:
    """They change places: the sum of all is the same."""
    weight = model.get_input_embeddings().weight
    weight[[100, 101]] = weight[[101, 100]]


def a_bias(model: PreTrainedModel) -> None:
    next(parameter for name, parameter in model.named_parameters() if name.endswith("bias"))[0] += 1e-3


def a_setting(model: PreTrainedModel) -> None:
    model.config.text_config.rms_norm_eps = 1e-5


def test_calls_of_the_tokenizer_leave_the_fingerprint(qwen: Path) -> None:
    model, processor = held(qwen)
    first = wrap_model(model, processor).fingerprint
    processor.tokenizer(["a", "long text"], padding=True, truncation=True, max_length=4)
    assert wrap_model(model, processor).fingerprint == first


def test_weights_that_are_nowhere_are_refused(qwen: Path) -> None:
    model, processor = held(qwen)
    with pytest.raises(ModelError, match=r"parameter \S+ of the model has no value"):
        wrap_model(model.to("meta"), processor)


def lora_settings():
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    return peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)


def lora(model):
    settings = lora_settings()
    return sys.modules["peft"].get_peft_model(model, settings)


def test_adapters_that_are_not_merged_are_driven(qwen: Path) -> None:
    model, processor = held(qwen)
    plain = wrap_model(held(qwen)[0], processor)
    adapted = wrap_model(lora(model), processor)
    merged = wrap_model(lora(held(qwen)[0]).merge_and_unload(), processor)
    torch.testing.assert_close(scores(adapted), scores(merged), atol=1e-4, rtol=1e-4)
    assert (scores(adapted) - scores(plain)).abs().max() > 0.1
    assert len({adapted.fingerprint, merged.fingerprint, plain.fingerprint}) == 3


def test_switching_an_adapter_changes_the_fingerprint(qwen: Path) -> None:
    model, processor = held(qwen)
    model = lora(model)
    wrapped = wrap_model(model, processor)
    plain = wrap_model(held(qwen)[0], processor)
    on = wrapped.fingerprint
    with model.disable_adapter():
        assert wrapped.fingerprint != on
        torch.testing.assert_close(scores(wrapped), scores(plain))
    assert wrapped.fingerprint == on
    model.merge_adapter()
    assert wrapped.fingerprint != on
    model.unmerge_adapter()
    model.base_model.model.model.language_model.layers[1].self_attn.q_proj.set_scale("default", 0.5)
    assert wrapped.fingerprint != on


def test_adapters_inside_the_model_itself_are_driven(qwen: Path) -> None:
    """As `add_adapter` of transformers puts them there."""
    peft = pytest.importorskip("peft")
    model, processor = held(qwen)
    plain = scores(wrap_model(held(qwen)[0], processor))
    peft.inject_adapter_in_model(lora_settings(), model)
    wrapped = wrap_model(model, processor)
    assert (scores(wrapped) - plain).abs().max() > 0.1
    on = wrapped.fingerprint
    for part in model.modules():
        if hasattr(part, "lora_A"):
            part.enable_adapters(False)
    assert wrapped.fingerprint != on
    torch.testing.assert_close(scores(wrapped), plain)


def test_a_learnt_prompt_is_refused(qwen: Path) -> None:
    peft = pytest.importorskip("peft")
    model, processor = held(qwen)
    settings = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2, num_layers=3, token_dim=32)
    settings.num_attention_heads = 4
    with pytest.raises(ModelError, match="'default' is a learnt prompt"):
        wrap_model(peft.get_peft_model(model, settings), processor)


def test_a_decoder_that_is_wrapped_by_itself_is_refused(qwen: Path) -> None:
    """A rotary module set on the wrapper would not be the decoder's."""
    model, processor = held(qwen)
    model.model.language_model = lora(model.model.language_model)
    with pytest.raises(ModelError, match=r"the decoder is of type PeftModel .*: wrap the whole model"):
        wrap_model(model, processor)


def test_quantized_weights_are_driven_and_have_a_fingerprint_of_their_own(qwen: Path) -> None:
    pytest.importorskip("accelerate")
    quantization = pytest.importorskip("torchao.quantization")
    settings = TorchAoConfig(quantization.Int8WeightOnlyConfig())
    plain, quantized = (loaded(qwen, device="cpu", quantization_config=chosen) for chosen in (None, settings))
    wrapped, again = (wrap_model(*held(qwen, quantization_config=settings)) for _ in range(2))
    expected = scores(plain)
    for model in (quantized, wrapped):
        assert type(model.decoder.layers[0].self_attn.q_proj.weight) is not nn.Parameter
        assert model.dtype == torch.float32
        assert nn.functional.cosine_similarity(scores(model), expected).min() > 0.95
    assert quantized.fingerprint != plain.fingerprint
    assert wrapped.fingerprint == again.fingerprint != wrap_model(*held(qwen)).fingerprint


def test_a_device_map_is_passed_on(directory: Path) -> None:
    pytest.importorskip("accelerate")
    expected = scores(load_model(directory, device="cpu"))
    mapped = load_model(directory, device_map={"": "cpu"})
    assert (mapped.device, mapped.dtype) == (torch.device("cpu"), torch.float32)
    torch.testing.assert_close(scores(mapped), expected)


def test_layers_that_come_from_the_disk_when_they_run_are_driven(directory: Path) -> None:
    """Their weights are on the meta device, and hooks bring them; so does the rotary module's."""
    pytest.importorskip("accelerate")
    expected = scores(load_model(directory, device="cpu"))
    model, _ = held(directory)
    decoder = next(name for name, module in model.named_modules() if module is model.get_decoder())
    matches = (re.match(rf"({decoder}\.(layers\.)?|model\.)?\w+", name) for name in model.state_dict())
    places = {match[0]: "cpu" for match in matches if match}
    places |= {f"{decoder}.layers.1": "disk", f"{decoder}.embed_tokens": "disk"}
    mapped = loaded(directory, device_map=places)
    assert mapped.model.get_input_embeddings().weight.is_meta
    assert not any(hasattr(module, "_hf_hook") for module in mapped.rope.modules())  # it would hold on to weights
    assert (mapped.device, mapped.dtype) == (torch.device("cpu"), torch.float32)
    torch.testing.assert_close(scores(mapped), expected)
    model, processor = held(directory, device_map=places)
    assert wrap_model(model, processor).fingerprint == wrap_model(*held(directory)).fingerprint


def spread(adapter: HuggingFaceMLLM) -> None:
    """Put a model on two devices that are not there: the last layers and the head on the second one.

    Hooks bring what enters a module to where its weights are, as accelerate's do.
    """

    def put(module: nn.Module, device: str) -> None:
        for part in module.modules():
            stores: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
            for held in stores:
                for name, tensor in held.items():
                    if tensor is not None and tensor.device.type != "cuda":
                        held[name] = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)

    def bring(module: nn.Module, arguments: tuple, keywords: dict):
        device = next(module.parameters()).device
        return torch.utils._pytree.tree_map_only(torch.Tensor, lambda part: part.to(device), (arguments, keywords))

    far = [*adapter.decoder.layers[1:], adapter.decoder.norm, adapter.model.get_output_embeddings()]
    for module in far:
        put(module, "cuda:1")
    put(adapter, "cuda:0")
    for module in (adapter.decoder.layers[0], *far):
        module.register_forward_pre_hook(bring, with_kwargs=True)


def test_layers_on_several_devices_share_one_cache(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors that only pretend to be on two devices refuse to meet, as real ones do."""

    def advance(cache: KVCache, positions: torch.Tensor) -> None:
        cache.length += positions.shape[-1]

    monkeypatch.setattr(KVCache, "advance", advance)  # its own reads a value, which pretended tensors do not have
    adapter = loaded(directory, device="cpu")
    with FakeTensorMode(), torch.no_grad():
        spread(adapter)
        home = torch.device("cuda:0")
        assert adapter.device == home
        cache = adapter.new_cache(3)
        for tokens in (3, 1):
            positions = adapter.text_positions(torch.arange(tokens, device=home))
            forward = Forward.behind(cache, tokens, positions=positions, records_kv=True, records_queries=True)
            states = adapter.run(adapter.embed(torch.zeros(tokens, dtype=torch.long)), forward)
            kv = forward.kv()
            assert {states.device, adapter.logits(states).device, kv.keys.device, cache.keys.device} == {home}
            assert adapter.rotate(kv.keys, kv.positions).device == home
            assert {query.device for query in forward.queries} == {home}
