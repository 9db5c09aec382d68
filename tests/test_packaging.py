"""The wheel that users install: the whole package, nothing beside it, under the version the package says it is."""

from __future__ import annotations

import subprocess
import sys
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import pytest

import videox2l

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
BUNDLE = ("model.safetensors", "tokenizer.json", "contrastive/model.safetensors", "MODEL_CARD.md")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel, built from this checkout by the build backend that pip calls."""
    pytest.importorskip("hatchling")
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory], cwd=ROOT, check=True)
    return ZipFile(next(directory.glob("*.whl")))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: ZipFile) -> None:
    files = (file for file in (SOURCE / "videox2l").rglob("*") if file.is_file() and file.suffix != ".pyc")
    package = {str(file.relative_to(SOURCE)) for file in files}
    bundles = {f"videox2l/{model}/{name}" for model in ("nano", "nano_qwen") for name in BUNDLE}
    assert {"videox2l/py.typed", *bundles} <= package
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == package


def test_the_bundled_models_take_less_than_12_mb_of_the_wheel(wheel: ZipFile) -> None:
    sizes = [file.compress_size for file in wheel.infolist() if file.filename.startswith("videox2l/nano")]
    assert len(sizes) > 12 and sum(sizes) < 12e6


def test_the_wheel_has_the_version_the_package_says(wheel: ZipFile) -> None:
    metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert HeaderParser().parsestr(wheel.read(metadata).decode())["Version"] == videox2l.__version__
