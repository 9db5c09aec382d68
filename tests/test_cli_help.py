"""Help that is instant and readable, and values that complete in the shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import Run

from videox2l.cli import completion
from videox2l.version import __version__


def python(code: str, *arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run code in another process."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, **settings
    )


HELP_WITHOUT_TORCH = """
import sys
from videox2l.cli import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
    assert "torch" not in sys.modules
"""

COMMANDS: tuple[list[str], ...] = (
    [],
    ["ask"],
    ["chat"],
    ["find"],
    ["index"],
    ["demo"],
    ["synth"],
    ["eval"],
    ["eval", "needles"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_of_every_command_starts_without_torch_and_fits_80_columns(command: list[str]) -> None:
    shown = python(HELP_WITHOUT_TORCH, *command, "-h", env=os.environ | {"COLUMNS": "80"})
    assert shown.returncode == 0, shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 80
    for odd in (
        "Of each task",
        "But never",
        "Say more",
        "so many",
        "is none",
        "<bool>",
        "<int>",
        "<float>",
        "66666",
        "no-only",
    ):
        assert odd not in shown.stdout


def test_everyday_options_come_first(run: Run) -> None:
    _, out, _ = run("ask", "--help")
    everyday, rest = out.split("More options")
    for option in ("--questions", "--plot", "--json", "--model", "--encoder", "--k", "--start"):
        assert f"{option} " in everyday
    for option in ("--oracle", "--selector", "--levels", "--compressor", "--temperature", "--dtype"):
        assert f"{option} " in rest
    assert len(everyday.splitlines()) < 40


def test_the_package_is_a_command_too() -> None:
    ran = subprocess.run([sys.executable, "-m", "videox2l", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == __version__


@pytest.mark.parametrize(
    "line, offered",
    [
        ("ask clip.mp4 What --oracle co", {"contrastive"}),
        ("ask clip.mp4 What --oracle attention+q", {"attention+qk"}),
        ("chat clip.mp4 --selector frames_a", {"frames_adaq", "frames_aks"}),
        ("index clip.mp4 --compressor value", {"value_norm"}),
        ("ask clip.mp4 What --model nan", {"nano", "nano-qwen"}),
        ("find clip.mp4 heart --encoder openai", {"openai/clip-vit-base-patch32"}),
        ("index clip.mp4 --store di", {"disk"}),
        ("index clip.mp4 --dtype b", {"bfloat16"}),
    ],
)
def test_values_complete_in_the_shell(line: str, offered: set[str], tmp_path: Path) -> None:
    asked = {
        "_TYPER_COMPLETE_ARGS": f"videox2l {line}",
        "_VIDEOX2L_COMPLETE": "complete_fish",
        "HF_HOME": str(tmp_path),
    }
    code = """
import sys
from videox2l.cli.app import app
sys.argv = ["videox2l"]
try:
    app(prog_name="videox2l")
finally:
    assert "torch" not in sys.modules
"""
    shown = python(code, env=os.environ | asked | {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}, cwd=tmp_path)
    assert set(shown.stdout.split()) == offered, shown.stderr


def test_downloaded_models_and_directories_are_offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hub" / "models--org--our-model").mkdir(parents=True)
    (tmp_path / "here" / "my-model").mkdir(parents=True)
    (tmp_path / "here" / "my-file").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    assert completion.models("or") == ["org/our-model"]
    assert completion.models("here/my") == ["here/my-model/"]
    assert completion.stores("absent/x") == []
