"""What Video-XL and Video-XL-2 share: prompts, configuration, parameter names, how they are loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from videox2l import Generation, Sampling, VideoX2L
from videox2l.errors import ModelError
from videox2l.models.base import Decoding, Turn
from videox2l.models.bundled import BUNDLED
from videox2l.models.load import load_model
from videox2l.models.video_xl.config import VideoXLConfig
from videox2l.models.video_xl_2.config import VideoXL2Config


@pytest.mark.parametrize("adapter", ["video_xl", "video_xl_2"])
@pytest.mark.parametrize(
    ("first", "answer", "second"),
    [
        ("What is on the slide?", "The template {question} and {answer}.", "Which {answer} is next?"),
        ("What does {question} mean? And {answer}?", "It stands for your words.", "Why?"),
    ],
)
def test_names_in_braces_in_questions_and_answers_stay_as_they_are(adapter, first, answer, second, request):
    model = request.getfixturevalue(adapter)
    prompt = model.tokenizer.decode(model.question_ids("SECOND", (Turn("FIRST", "ANSWER"),)))
    expected = prompt.replace("FIRST", first).replace("ANSWER", answer).replace("SECOND", second)
    assert model.tokenizer.decode(model.question_ids(second, (Turn(first, answer),))) == expected


def edit_config(directory: Path, **changes: object) -> None:
    file = directory / "config.json"
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))


@pytest.mark.parametrize("config", [VideoXLConfig, VideoXL2Config])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_act": "gelu"}, "hidden_act='gelu', and only 'silu' is built"),
        ({"mm_projector_type": "linear"}, "mm_projector_type='linear', and only 'mlp2x_gelu' is built"),
        ({"hidden_size": ..., "vocab_size": ...}, "lacks vocab_size, hidden_size"),
    ],
    ids=str,
)
def test_a_configuration_of_another_make_is_refused(config, changes, said, checkpoint, tmp_path):
    shutil.copy(checkpoint / "config.json", tmp_path)
    config.from_directory(tmp_path)
    edit_config(tmp_path, **changes)
    with pytest.raises(ModelError, match=said):
        config.from_directory(tmp_path)


@pytest.mark.parametrize("changes", [{"beacon_layout": "odd"}, {"mm_token_norm": "layer"}, {"beacon_param": ["q"]}])
def test_a_departure_that_is_not_built_is_refused(changes, checkpoint, tmp_path):
    shutil.copy(checkpoint / "config.json", tmp_path)
    edit_config(tmp_path, **changes)
    with pytest.raises(ModelError, match=f"{next(iter(changes))}=.*is built"):
        VideoXLConfig.from_directory(tmp_path)


def test_the_base_of_rope_is_read_from_either_of_its_places(checkpoint, tmp_path):
    shutil.copy(checkpoint / "config.json", tmp_path)
    edit_config(tmp_path, rope_theta=..., rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    assert VideoXLConfig.from_directory(tmp_path).rope_theta == 5e5
    edit_config(tmp_path, rope_theta=2e5)
    assert VideoXLConfig.from_directory(tmp_path).rope_theta == 2e5


def names(file: Path) -> set[str]:
    with safe_open(file, "pt") as weights:
        return set(weights.keys())


@pytest.mark.parametrize(
    ("adapter", "golden", "unused"),
    [
        ("video_xl", "videox22l", ("{tower}encoder.layers.3.", "{tower}post_layernorm.")),
        ("video_xl_2", "videoxl2", ("{tower}post_layernorm.", "model.text_mlp.")),
    ],
)
def test_parameters_have_their_official_names(adapter, golden, unused, request):
    """A published checkpoint has others only for parts that inference has no use for."""
    official = names(Path(__file__).parent / "golden" / golden / "weights.safetensors")
    ours = set(request.getfixturevalue(adapter).state_dict())
    prefixes = tuple(prefix.format(tower="model.vision_tower.vision_tower.vision_model.") for prefix in unused)
    assert ours == {name for name in official if not name.startswith(prefixes)}
    assert len(ours) > 100


def test_the_parameters_of_nano_are_those_of_its_file():
    assert set(load_model("nano", device="cpu").state_dict()) == names(BUNDLED["nano"] / "model.safetensors")


@pytest.mark.parametrize("adapter", ["video_xl", "video_xl_2"])
def test_an_adapter_made_without_a_directory_answers_as_the_loaded_one(adapter, made_clip, request):
    """Nothing has to be set on it afterwards."""
    loaded = request.getfixturevalue(adapter)
    made = type(loaded)(
        *loaded.parts(loaded.directory), tokenizer=loaded.tokenizer, name="made", fingerprint=loaded.fingerprint
    )
    made.load_state_dict(loaded.state_dict())
    answers = []
    for model in (loaded, made):
        engine = VideoX2L(model, chunk_frames=4)
        index = engine.index(made_clip, Sampling(frames=12))
        answers.append(engine.ask(index, "what?", generation=Generation(max_new_tokens=6)))
    assert answers[0].text == answers[1].text
    assert answers[0].cache_tokens == answers[1].cache_tokens
    assert (made.directory, made.eos_ids) == (None, loaded.eos_ids)


def test_decoding_is_what_the_generation_config_says(checkpoint, tmp_path):
    directory = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))
    assert load_model(directory, device="cpu").decoding == Decoding()
    settings = {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05}
    (directory / "generation_config.json").write_text(json.dumps(settings))
    assert load_model(directory, device="cpu").decoding == Decoding(0.7, 20, 0.8, 1.05)
    (directory / "generation_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"generation_config\.json"):
        load_model(directory, device="cpu")
