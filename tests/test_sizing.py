import pytest
from safetensors import safe_open
from videos import write_video

from videox2l import Sampling, VideoX2L
from videox2l.compression.registry import compressor_for
from videox2l.index.sizing import IndexSize, predict_size
from videox2l.levels import FRESH
from videox2l.models.base import MLLM
from videox2l.models.load import load_model
from videox2l.store import DiskStore
from videox2l.testing.tiny_models import FAMILIES, build
from videox2l.types import VideoOutline

SECONDS = 130  # long enough that times have one, two and three digits
HEIGHT, WIDTH = 48, 96


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clip") / "numbers.mp4", SECONDS, fps=1)


def predicted_and_made(model: MLLM, clip, directory, levels):
    """The size that is predicted of a video's index, and the index, made on disk."""
    compressor = compressor_for(model, levels=levels)
    engine = VideoX2L(model, compressor, store=DiskStore(directory))
    size = predict_size(model, engine.index_compressor, VideoOutline(SECONDS, float(SECONDS)), HEIGHT, WIDTH)
    return size, engine.index(clip, Sampling(fps=1))


def tensor_bytes(directory, key):
    """Bytes of all tensors that an index keeps."""
    total = 0
    for file in (directory / key).glob("*.safetensors"):
        with safe_open(file, "pt") as stream:
            total += sum(stream.get_tensor(name).nbytes for name in stream.keys())  # noqa: SIM118
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_the_predicted_size_is_that_of_the_index(family, clip, tmp_path):
    if family == "smolvlm":
        pytest.importorskip("num2words")
    model = load_model(build(family, tmp_path / "model"), device="cpu")
    coarse = 4 if family == "qwen3_vl" else 16  # whose chunks have five visual tokens here
    size, index = predicted_and_made(model, clip, tmp_path / "store", levels=(FRESH, coarse))
    chunks = len(index.entries)
    assert size.chunks == chunks == 13
    assert size.prompt_tokens == len(index.prompt)
    assert size.full_tokens + size.prompt_tokens == pytest.approx(index.full_tokens, rel=0.03)
    for level in (FRESH, coarse):
        made = index.tokens((level,) * chunks) - len(index.prompt)
        assert size.tokens[level] == pytest.approx(made, rel=0.03)
    assert size.stored_bytes == pytest.approx(tensor_bytes(tmp_path / "store", index.key), rel=0.03)


def test_the_predicted_size_is_that_of_the_directory_of_a_video_xl(clip, tmp_path):
    size, index = predicted_and_made(load_model("nano", device="cpu"), clip, tmp_path, levels=(2, 32))
    assert size.stored_bytes == pytest.approx(tensor_bytes(tmp_path, index.key), rel=0.03)
    on_disk = sum(file.stat().st_size for file in (tmp_path / index.key).glob("*"))
    headers = 4096 * (size.chunks + 2)  # of the chunks' and the prompt's files, and the manifest
    assert size.stored_bytes < on_disk < size.stored_bytes + headers


def test_the_predicted_size_is_that_of_a_video_xl_2(video_xl_2, clip, tmp_path):
    size, index = predicted_and_made(video_xl_2, clip, tmp_path, levels=(1, 4))
    assert size.stored_bytes == pytest.approx(tensor_bytes(tmp_path, index.key), rel=0.03)
    assert size.full_cache_bytes == pytest.approx(index.full_tokens * size.token_bytes, rel=0.03)


def test_a_cache_holds_the_chosen_chunks_at_the_finest_level_and_the_others_at_the_coarsest():
    size = IndexSize(
        chunks=10,
        full_tokens=4000,
        tokens={2: 2000, 32: 120},
        prompt_tokens=14,
        token_bytes=100,
        stored_token_bytes=108,
        fresh_token_bytes=72,
    )
    assert size.cache_bytes(3) == (14 + 3 * 200 + 7 * 12) * 100
    assert size.cache_bytes(99) == (14 + 2000) * 100
