"""The house keeps its floors: a room imports only rooms below it, in no circle, and torch stays where it belongs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from goodsight.digests import HOUSE, ROOMS, code_files

FLOORS = {
    "goodsight": 0,
    "samples": 0,
    "catalogue": 1,
    "lineage": 1,
    "models": 2,
    "feature_repo": 2,
    "serving": 3,
    "monitoring": 3,
    "components": 4,
    "pipelines": 5,
}
TORCH = {"models", "serving", "components"}  # the rooms that may import torch themselves
NEVER_TORCH = ("goodsight", "catalogue", "lineage", "feature_repo")  # nor anything that imports it


def modules(house: Path) -> dict[str, Path]:
    """Module name -> file, of every room."""
    found = {}
    for room in FLOORS:
        for path in sorted((house / room).rglob("*.py")):
            name = ".".join(path.relative_to(house).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import in a file, also inside functions; `from a import b` is `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def offences(house: Path) -> list[str]:
    """What breaks a rule, in words."""
    found = []
    for module, path in modules(house).items():
        room = module.split(".")[0]
        for line, name in imports(path, module):
            other, where = name.split(".")[0], f"{path.relative_to(house)}:{line} imports {name}"
            if other in FLOORS and other != room and FLOORS[other] >= FLOORS[room]:
                floors = f"{room} is on floor {FLOORS[room]}, {other} on floor {FLOORS[other]}"
                found.append(f"{where}: {floors}: a room imports only rooms on lower floors")
            if other == "torch" and room not in TORCH:
                found.append(f"{where}: only {', '.join(sorted(TORCH))} and tests import torch")
    return found


def graph(house: Path) -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports."""
    known = modules(house)
    edges = {}
    for module, path in known.items():
        named = {name for _, name in imports(path, module)}
        edges[module] = {name if name in known else name.rpartition(".")[0] for name in named} & known.keys() - {module}
    return edges


def test_every_import_goes_down() -> None:
    assert not offences(HOUSE), "\n".join(offences(HOUSE))


def test_no_module_imports_itself_in_a_circle() -> None:
    try:
        TopologicalSorter(graph(HOUSE)).prepare()
    except CycleError as error:
        pytest.fail(f"these modules import each other in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("room", NEVER_TORCH)
def test_these_rooms_never_reach_torch(room: str) -> None:
    for module in (name for name in modules(HOUSE) if name.split(".")[0] == room):
        for name, path in code_files(module).items():
            reached = [line for line, imported in imports(path, name) if imported.split(".")[0] == "torch"]
            assert not reached, f"{module} reaches torch through {name}, line {reached}: {room} must run without torch"


def test_every_room_has_a_floor() -> None:
    assert set(ROOMS) <= FLOORS.keys()
    packages = {path.parent.name for path in HOUSE.glob("*/__init__.py")} - {"tests"}
    assert packages <= FLOORS.keys(), f"give {packages - FLOORS.keys()} a floor"


def test_the_rules_find_what_breaks_them(tmp_path: Path) -> None:
    files = {
        "goodsight/up.py": "from serving import client",
        "catalogue/side.py": "def f():\n    import lineage.ledger\n",
        "lineage/ledger.py": "import torch.nn as nn",
        "models/one.py": "from models.two import x",
        "models/two.py": "def f():\n    from models import one\n",
        "models/down.py": "import torch\nfrom catalogue import side\nfrom . import one",
        "serving/client.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = "\n".join(offences(tmp_path)).splitlines()
    assert len(found) == 3
    assert found[0].startswith("goodsight/up.py:1 imports serving.client: goodsight is on floor 0, serving on floor 3")
    assert found[1].startswith(
        "catalogue/side.py:2 imports lineage.ledger: catalogue is on floor 1, lineage on floor 1"
    )
    assert found[2].startswith(
        "lineage/ledger.py:1 imports torch.nn: only components, models, serving and tests import torch"
    )
    assert graph(tmp_path)["models.down"] == {"models.one", "catalogue.side"}
    with pytest.raises(CycleError):
        TopologicalSorter(graph(tmp_path)).prepare()
