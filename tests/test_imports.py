"""Every module can be imported first, and imports point one way: front doors, engine, steps, what everyone shares."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import videox2l
from videox2l.models.bundled import BUNDLED
from videox2l.models.load import ADAPTERS
from videox2l.testing.tiny_models import build

ROOT = Path(videox2l.__file__).parent

SHARED = "checks digest errors levels registry times types version"
ROOMS = {
    # front doors and tools
    "testing": f"answering cli compression engine index models selection store video {SHARED}",
    "__main__": "cli",
    "cli": f"answering compression engine evaluation find index oracles selection store synthesis tracks video "
    f"{SHARED}",
    "evaluation": f"answering compression engine index models oracles selection store synthesis video {SHARED}",
    "videox2l": f"answering compression engine index selection video {SHARED}",  # its names, imported when asked for
    "engine": f"answering find compression index models oracles selection store tracks video {SHARED}",
    "find": f"answering models oracles store tracks video {SHARED}",
    # steps
    "answering": f"index kv models tracks {SHARED}",
    "oracles": f"index kv models tracks {SHARED}",
    "selection": f"index {SHARED}",
    "index": f"compression kv models store tracks video {SHARED}",
    "compression": f"kv models {SHARED}",
    "tracks": f"models store video {SHARED}",
    "models": f"kv store {SHARED}",
    "synthesis": f"video {SHARED}",
    "kv": SHARED,
    "video": f"store {SHARED}",
    "store": SHARED,
    # shared
    "checks": "errors",
    "registry": "errors",
    "times": "errors",
    "digest": "",
    "types": "levels",
    "levels": "errors",
    "errors": "",
    "version": "",
}
"""Which rooms (folders, or files at the root) a room may import, from the top of the house to its bottom."""

STEPS = ("answering", "oracles", "selection", "index", "compression", "tracks", "models", "kv", "video", "store")
MEETING_PLACES = {
    "compression": {"base", "registry"},
    "index": {"read_once", "reload", "video_index"},
    "kv": {"attention", "cache", "rope"},
    "models": {"base", "forward"},
    "store": {"", "base", "file_digest"},
    "tracks": {"dual_encoder", "embeddings", "languages", "subtitles", "thumbnails", "track"},
    "video": {""},
}
"""The modules of a step that other steps may import; the rest is its inside. "" is the package itself."""

OF_ONE_FAMILY = {
    ("compression.group_pooling", "models.video_xl_2.adapter"),
    ("compression.group_pooling", "models.video_xl_2.visibility"),
    ("compression.summary_tokens", "models.video_xl.adapter"),
    ("compression.summary_tokens", "models.video_xl.window"),
    ("tracks.contrastive_head", "models.checkpoint"),
    ("tracks.dual_encoder", "models.checkpoint"),
}
"""Compression that is a family's own, and encoders that are checkpoints too, know what they are made for."""


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {name_of(file): file for file in ROOT.rglob("*.py")}
"""Every module's file by its name behind "videox2l."; the package itself is ""."""


def for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(file: Path, when_run: bool = False) -> Iterator[str]:
    """Modules of the package that a file imports: anywhere in it, or only those that it imports when it is run."""
    tree = ast.parse(file.read_text())
    nodes = [node for node in tree.body if not for_types(node)] if when_run else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports by a relative name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] == "videox2l":
                yield next(module for module in (*parents(name.partition(".")[2]), "") if module in MODULES)


def parents(name: str) -> Iterator[str]:
    """A dotted name, then its packages, the innermost first."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def room(module: str) -> str:
    return module.partition(".")[0] or "videox2l"


ARROWS = sorted({(module, target) for module, file in MODULES.items() for target in imports(file)})


def test_the_rooms_have_an_order() -> None:
    order = list(ROOMS)
    for number, allowed in enumerate(ROOMS.values()):
        upward = set(allowed.split()) & set(order[: number + 1])
        # a front door may ask the package for its public names, which are imported then
        assert upward <= {"videox2l"}, f"{order[number]} may import {upward}, which may import it"
    assert {room(module) for module in MODULES} == set(ROOMS)


def test_a_room_imports_what_lies_below_it_alone() -> None:
    assert len(ARROWS) > 200
    wrong = [
        f"{module} -> {target}"
        for module, target in ARROWS
        if room(module) != room(target) and room(target) not in ROOMS[room(module)].split()
    ]
    assert wrong == []


def test_no_step_imports_the_inside_of_another() -> None:
    wrong = [
        f"{module} -> {target}"
        for module, target in ARROWS
        if room(module) in STEPS
        and room(target) in STEPS
        and room(module) != room(target)
        and target.partition(".")[2] not in MEETING_PLACES.get(room(target), ())
        and (module, target) not in OF_ONE_FAMILY
    ]
    assert wrong == []
    assert set(ARROWS) >= OF_ONE_FAMILY  # none is left over


def test_no_module_imports_itself_through_others() -> None:
    graph = {module: set(imports(file, when_run=True)) for module, file in MODULES.items()}
    assert sum(map(len, graph.values())) > 200
    TopologicalSorter(graph).prepare()  # raises CycleError and names the circle


EACH_ALONE = """
import gc, importlib, json, os, sys
names = json.loads(sys.argv[1])
for name in names:  # what they stand on is imported once
    try:
        importlib.import_module(name)
    except Exception:
        pass
for name in [name for name in sys.modules if name.partition(".")[0] == "videox2l"]:
    del sys.modules[name]
gc.freeze()
gc.disable()  # a child's collection would copy what the parent holds
failed = {}
for name in names:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
            os._exit(0)
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode()[:4000])
            os._exit(1)
    os.close(writing)
    told = os.read(reading, 4000).decode()
    os.close(reading)
    if os.waitpid(child, 0)[1]:
        failed[name] = told
print(json.dumps(failed))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_every_module_can_be_imported_first() -> None:
    """Each in a process that has imported nothing else of the package."""
    names = sorted(f"videox2l.{module}".rstrip(".") for module in MODULES)
    ran = subprocess.run([sys.executable, "-c", EACH_ALONE, json.dumps(names)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {}


LOADED = """
import json, sys
from videox2l.cli import app
started = sorted(sys.modules)
import videox2l.engine
imported = sorted(sys.modules)
videox2l.engine.VideoX2L.from_pretrained(sys.argv[1])
print(json.dumps([started, imported, sorted(sys.modules)]))
"""
"""Prints the names of the modules there are with the command line, with the engine, and with a model in it."""

ADAPTER_FILES = {ADAPTERS[name].__module__ for name in ADAPTERS.names}

SLOW = {"matplotlib", "torch._dynamo", "torchvision", "transformers.modeling_utils"}
"""What takes from a third of a second to seconds to import, and an answer may do without."""


def modules_with(model: Path) -> list[set[str]]:
    ran = subprocess.run([sys.executable, "-c", LOADED, str(model)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return [set(names) for names in json.loads(ran.stdout)]


def model_code(modules: set[str]) -> set[str]:
    """The models of transformers whose code is among the modules."""
    parts = (module.split(".") for module in modules if module.startswith("transformers.models."))
    return {part[2] for part in parts if part[2] != "auto" and part[-1].startswith(("modeling_", "video_processing_"))}


def test_a_bundled_model_imports_its_own_family_and_nothing_slow() -> None:
    started, imported, loaded = modules_with(BUNDLED["nano"])
    assert not started & {"torch", "transformers", "av"}
    assert {"torch", "av"} <= imported
    assert not imported & (SLOW | ADAPTER_FILES)
    assert loaded & ADAPTER_FILES == {"videox2l.models.video_xl.adapter"}
    assert not loaded & SLOW
    assert model_code(loaded) == set()


def test_a_model_of_transformers_imports_its_own_family_alone(tmp_path: Path) -> None:
    _, _, loaded = modules_with(build("qwen3_vl", tmp_path))
    assert loaded & ADAPTER_FILES == {"videox2l.models.qwen3_vl"}
    assert model_code(loaded) == {"qwen3_vl"}
    assert "matplotlib" not in loaded
