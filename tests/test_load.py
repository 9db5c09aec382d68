"""Models come by name from a directory or the hub: judged by their configuration first, and never executed."""

from __future__ import annotations

import builtins
import fnmatch
import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, Qwen2_5OmniConfig, SiglipConfig, WhisperConfig

from videox2l.errors import ModelError, SettingsError
from videox2l.models.load import QUANTIZATION_PACKAGES, adapter_of, load_model, pick_dtype
from videox2l.testing import tiny_models
from videox2l.tracks.dual_encoder import HubDualEncoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build("qwen3_vl", tmp_path_factory.mktemp("qwen3_vl"))


@pytest.fixture
def copy(qwen: Path, tmp_path: Path) -> Path:
    """A checkpoint of one's own to change."""
    return Path(shutil.copytree(qwen, tmp_path / "copy"))


def change_json(file: Path, **values: object) -> None:
    file.write_text(json.dumps((json.loads(file.read_text()) if file.is_file() else {}) | values))


class Hub:
    """The hub at the network's edge: it copies what is asked of a directory to where its cache would have it."""

    def __init__(self, cache: Path):
        self.cache = cache
        self.models: dict[str, Path] = {}
        self.asked: list[tuple[str, str | None, tuple[str, ...]]] = []

    def snapshot_download(self, model: str, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append((model, revision, tuple(allow_patterns)))
        if model not in self.models:
            raise OSError(f"404 Client Error.\n\nRepository Not Found for {model}.")
        snapshot = self.cache / "snapshots" / COMMIT
        for file in self.models[model].iterdir():
            if any(fnmatch.fnmatch(file.name, pattern) for pattern in allow_patterns):
                snapshot.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, snapshot)
        return str(snapshot)

    def has_given(self) -> set[str]:
        return {file.name for file in self.cache.rglob("*") if file.is_file()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


def test_a_model_from_the_hub_is_judged_before_it_is_downloaded(hub: Hub, qwen: Path) -> None:
    hub.models["org/qwen"] = qwen
    model = load_model("org/qwen", device="cpu", revision="v2")
    assert model.name == "org/qwen"
    (_, first_revision, first), (_, then_revision, then) = hub.asked
    assert (first_revision, first) == ("v2", ("config.json", "adapter_config.json"))
    assert then_revision == COMMIT  # what was judged is what is loaded, whatever the branch is now
    assert "*.safetensors" in then


def test_of_a_refused_model_nothing_but_its_configuration_is_downloaded(hub: Hub, copy: Path) -> None:
    change_json(copy / "config.json", model_type="other_vl")
    hub.models["org/other"] = copy
    with pytest.raises(ModelError, match="'other_vl' of org/other"):
        load_model("org/other", device="cpu")
    assert hub.has_given() == {"config.json"}


@pytest.mark.parametrize("what", ["GGUF files", "nothing"])
def test_a_hub_repository_without_a_configuration_is_told_so(hub: Hub, tmp_path: Path, what: str) -> None:
    hub.models["org/files"] = tmp_path / "files"
    (tmp_path / "files").mkdir()
    if what == "GGUF files":
        (tmp_path / "files" / "model-Q4.gguf").write_text("")
    with pytest.raises(ModelError, match=r"^org/files is not a model in transformers' format.*no config\.json.*: pass"):
        load_model("org/files", device="cpu")


def test_a_model_that_is_nowhere_is_one_sentence(hub: Hub) -> None:
    with pytest.raises(ModelError, match=r"^model 'org/none' is neither [^\n]*404 Client Error\): check[^\n]*$"):
        load_model("org/none", device="cpu")


def test_the_processors_chat_template_comes_before_the_tokenizers(qwen: Path, copy: Path) -> None:
    """That of a tokenizer may be the text model's, which has no place for a video."""
    template = (copy / "chat_template.jinja").read_text()
    (copy / "chat_template.jinja").unlink()
    change_json(copy / "chat_template.json", chat_template=template)
    change_json(copy / "tokenizer_config.json", chat_template="{% for message in messages %}text alone{% endfor %}")
    ours, expected = (load_model(directory, device="cpu").question_ids("What?") for directory in (copy, qwen))
    assert torch.equal(ours, expected)


def test_a_directory_has_no_revision(qwen: Path) -> None:
    for model in (qwen, "nano"):
        with pytest.raises(SettingsError, match="revision 'v2' names a version on the hub"):
            load_model(model, revision="v2")


@pytest.mark.parametrize("content", ["[]", "7", '"qwen"'])
def test_a_configuration_that_is_no_object_is_refused(copy: Path, content: str) -> None:
    (copy / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json is not a JSON object"):
        load_model(copy, device="cpu")


def test_a_refusal_says_what_a_model_takes(tmp_path: Path) -> None:
    for name, config in (("omni", Qwen2_5OmniConfig()), ("whisper", WhisperConfig())):
        config.save_pretrained(tmp_path / name)
    with pytest.raises(ModelError, match=r"'qwen2_5_omni' of .* \(vision and audio\) has no adapter"):
        load_model(tmp_path / "omni", device="cpu")
    with pytest.raises(ModelError, match=r"an audio model \(whisper\) and sees no video"):
        load_model(tmp_path / "whisper", device="cpu")


@pytest.mark.parametrize("base", ["Qwen/Qwen3-VL-4B-Instruct", None])
@pytest.mark.parametrize("place", ["directory", "hub"])
def test_an_adapter_is_never_left_out_in_silence(hub: Hub, copy: Path, place: str, base: str | None) -> None:
    change_json(copy / "adapter_config.json", peft_type="LORA", **({"base_model_name_or_path": base} if base else {}))
    save_file({"x": torch.zeros(1)}, copy / "adapter_model.safetensors")
    hub.models["org/lora"] = copy
    model = "org/lora" if place == "hub" else copy
    into = f"merge it into {base or 'its base model'} with peft"
    with pytest.raises(ModelError, match=rf"beside a model.*{into}[^\n]*remove adapter_config\.json"):
        load_model(model, device="cpu")
    (copy / "config.json").unlink()
    shutil.rmtree(hub.cache, ignore_errors=True)
    with pytest.raises(ModelError, match=rf"is an adapter .*not a model: {into}[^\n]*from memory$"):
        load_model(model, device="cpu")
    assert hub.has_given() <= {"adapter_config.json"}


QUANTIZED = {
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True},
    "compressed-tensors": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {}},
    "hqq": {"quant_method": "hqq"},
    "quanto": {"quant_method": "quanto", "weights": "int8"},
    "torchao": {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}},
    "auto-round": {"quant_method": "auto-round", "bits": 4},
}


def is_installed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.mark.parametrize("method", QUANTIZED)
@pytest.mark.parametrize("where", ["top", "text"])
def test_what_a_quantized_model_needs_is_named_before_it_is_downloaded(
    hub: Hub, copy: Path, method: str, where: str
) -> None:
    if where == "top":
        change_json(copy / "config.json", quantization_config=QUANTIZED[method])
    else:
        text = json.loads((copy / "config.json").read_text())["text_config"]
        change_json(copy / "config.json", text_config=text | {"quantization_config": QUANTIZED[method]})
    hub.models["org/small"] = copy
    packages = QUANTIZATION_PACKAGES[method]
    if all(map(is_installed, packages.split())):
        pytest.skip(f"{packages} is there")
    with pytest.raises(ModelError, match=rf"^org/small with {method} quantization[^\n]*: pip install {packages}$"):
        load_model("org/small", device="cpu")
    assert hub.has_given() == {"config.json"}


def test_quantization_that_nobody_knows_is_refused(copy: Path) -> None:
    change_json(copy / "config.json", quantization_config={"quant_method": "our_own"})
    with pytest.raises(ModelError, match=r"our_own quantization .*Unknown quantization type.*not quantized"):
        load_model(copy, device="cpu")


def test_what_only_transformers_can_do_is_refused_of_other_models(checkpoint: Path, tmp_path: Path) -> None:
    quantized = Path(shutil.copytree(checkpoint, tmp_path / "quantized"))
    change_json(quantized / "config.json", quantization_config=QUANTIZED["awq"])
    with pytest.raises(SettingsError, match="loaded by VideoXL, which supports neither device_map nor quantization"):
        load_model(quantized, device="cpu")


def test_a_device_and_a_device_map_exclude_each_other(qwen: Path) -> None:
    with pytest.raises(SettingsError, match=r"device 'cpu' and device_map 'auto' can't be combined"):
        load_model(qwen, device="cpu", device_map="auto")


def test_a_device_map_without_accelerate_says_what_to_install(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videox2l.models.load.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"device_map 'auto' needs .* pip install accelerate"):
        load_model(qwen, device_map="auto")


PUBLISHED_DTYPES = {
    "Qwen2.5-VL, LLaVA-NeXT-Video, Video-XL": ({"torch_dtype": "bfloat16"}, {}),
    "InternVL3": ({"torch_dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}),
    "saved by transformers 5": ({"dtype": "bfloat16"}, {"dtype": "bfloat16"}),
    "Qwen3-VL": ({}, {"dtype": "bfloat16"}),
    "an older text part": ({}, {"torch_dtype": "bfloat16"}),
    "nothing": ({}, {}),
}


@pytest.mark.parametrize("published", PUBLISHED_DTYPES)
def test_an_accelerator_gets_the_dtype_that_transformers_takes(copy: Path, published: str) -> None:
    weights = load_file(copy / "model.safetensors")
    save_file({name: value.bfloat16() for name, value in weights.items()}, copy / "model.safetensors", {"format": "pt"})
    top, text = PUBLISHED_DTYPES[published]
    config = json.loads((copy / "config.json").read_text())
    parts = {"text_config": config["text_config"], "vision_config": config["vision_config"], "top": config}
    for part in parts.values():
        part.pop("dtype", None)
    (copy / "config.json").write_text(json.dumps(config | top | {"text_config": config["text_config"] | text}))
    config = json.loads((copy / "config.json").read_text())
    theirs = AutoModelForImageTextToText.from_pretrained(copy, dtype="auto").dtype
    assert pick_dtype("auto", torch.device("cuda"), config, copy) == theirs == torch.bfloat16
    assert pick_dtype("auto", torch.device("cpu"), config, copy) == torch.float32
    assert pick_dtype("float16", torch.device("cuda"), config, copy) == torch.float16


def test_a_dtype_that_nothing_runs_in_is_refused(copy: Path) -> None:
    with pytest.raises(SettingsError, match=r"dtype 'float64' is not supported.*float32, bfloat16, float16"):
        pick_dtype("auto", torch.device("cuda"), {"dtype": "float64"}, copy)


@pytest.fixture
def mischief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that a checkpoint's own Python would write, were it run; somebody says yes to every question."""
    monkeypatch.setattr(builtins, "input", lambda prompt="": "y")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "was_run"


def add_code(directory: Path, mischief: Path) -> None:
    (directory / "own.py").write_text(f"open({str(mischief)!r}, 'w').close()\nclass Own: pass\n")


def test_the_python_of_a_model_of_an_unknown_family_is_not_run(copy: Path, mischief: Path) -> None:
    add_code(copy, mischief)
    change_json(copy / "config.json", model_type="own", auto_map={"AutoConfig": "own.Own"})
    with pytest.raises(ModelError, match="'own'"):
        load_model(copy, device="cpu")
    assert not mischief.exists()


def test_the_python_of_a_models_video_processor_is_not_run(copy: Path, mischief: Path) -> None:
    add_code(copy, mischief)
    own = {"video_processor_type": "Own", "auto_map": {"AutoVideoProcessor": "own.Own"}}
    change_json(copy / "processor_config.json", video_processor=own)
    with pytest.raises(ModelError, match=r"^[^\n]*video processor[^\n]*$"):
        load_model(copy, device="cpu")
    assert not mischief.exists()


def test_the_python_of_a_dual_encoder_is_not_run(tmp_path: Path, mischief: Path) -> None:
    directory = tmp_path / "siglip"
    SiglipConfig().save_pretrained(directory)
    add_code(directory, mischief)
    change_json(directory / "config.json", model_type="own", auto_map={"AutoConfig": "own.Own"})
    with pytest.raises(ModelError, match="own and not a dual encoder"):
        HubDualEncoder(directory)
    assert not mischief.exists()


def test_of_what_is_no_dual_encoder_nothing_but_its_configuration_is_downloaded(hub: Hub, qwen: Path) -> None:
    hub.models["org/qwen"] = qwen
    with pytest.raises(ModelError, match="org/qwen is a qwen3_vl and not a dual encoder"):
        HubDualEncoder("org/qwen")
    assert hub.has_given() == {"config.json"}


PLUGIN = """
from pathlib import Path
from videox2l.models.base import MLLM
from videox2l.models.llava_onevision import LlavaOnevision

class Ours(LlavaOnevision):
    model_type = "ours_vl"

class Longer:
    @classmethod
    def accepts(cls, config):
        return config["model_type"] == "llava_qwen" and config.get("is_longer", False)
"""

ENTRY_POINTS = """[videox2l.models]
ours_vl = plugin:Ours
llava_qwen/longer = plugin:Longer
llava_onevision = plugin:Ours
broken_vl = plugin_that_is_not_there:Model
"""


def test_another_package_adds_adapters_by_entry_points(tmp_path: Path) -> None:
    """A new family, one more adapter of a model_type that others have, and none in the place of ours."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from videox2l.errors import VideoX2LError
from videox2l.models.load import adapter_of, load_model
for config in (
    {{"model_type": "ours_vl"}},
    {{"model_type": "llava_qwen", "is_longer": True}},
    {{"model_type": "llava_qwen", "is_longer": True, "enable_beacon": True}},
    {{"model_type": "llava_qwen", "enable_beacon": True}},
    {{"model_type": "llava_qwen"}},
    {{"model_type": "llava_onevision"}},
):
    print(adapter_of(config).__name__)
try:
    adapter_of({{"model_type": "broken_vl"}})
except VideoX2LError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *names, broken = ran.stdout.splitlines()
    assert names == ["Ours", "Longer", "Longer", "VideoXL", "VideoXL2", "LlavaOnevision"]
    assert "broken_vl" in broken and "plugin" in broken


def test_an_adapter_is_found_without_importing_the_others() -> None:
    code = """
import sys
import videox2l.engine
from videox2l.models.load import adapter_of
print(*(name for name in ("transformers.modeling_utils", "torch._dynamo", "torchvision") if name in sys.modules))
adapter_of({"model_type": "qwen3_vl"})
print(*(name for name in sys.modules if name.startswith(("videox2l.models.", "transformers.models."))))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = ran.stdout.splitlines()
    assert before == ""  # a second or two that only a model needs
    imported = after.split()
    assert "videox2l.models.qwen3_vl" in imported
    others = ("internvl", "llava", "smolvlm", "video_xl", "qwen2_5_vl")
    assert not [name for name in imported if name.split(".")[2].startswith(others)]


def test_no_adapter_takes_what_none_knows() -> None:
    assert adapter_of({"model_type": "other"}) is None
    assert adapter_of({}) is None
