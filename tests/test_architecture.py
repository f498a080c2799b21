"""The order of the folders: nothing imports from a folder that comes later, and the root holds the door only."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from decorec.plan.fingerprints import PACKAGE, closure, data_files
from decorec.steps import STEPS

ORDER = (
    "errors progress",
    "gpus processor",
    "artifacts",
    "config project",
    "data",
    "acquire",
    "features prepare",
    "nn",
    "models",
    "evaluation",
    "recommend",
    "export serve",
    "training",
    "tables",
    "figures",
    "report",
    "steps",
    "plan",
    "cli",
    "prefork",
    "__main__",
)
"""What stands in one line does not import each other."""
PRESENTATION = {"tables", "figures", "report"}
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names.split()}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


def place(module: str) -> str:
    """The folder of a module of the package, or its own name at the root."""
    return module.removeprefix("decorec").removeprefix(".").partition(".")[0]


def imported(path: Path) -> set[str]:
    """Folders that a file imports from, wherever in its source; what is for type checking alone does not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("decorec") and id(node) not in typing:
            names = [node.module] if node.module != "decorec" else [f"decorec.{alias.name}" for alias in node.names]
            found |= {place(str(name)) for name in names}
    return found - {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=[path.relative_to(PACKAGE).as_posix() for path in MODULES])
def test_imports_go_down(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for other in imported(path) - {here}:
        assert LEVEL[other] < LEVEL[here], f"{here} imports from {other}"


def test_no_modules_need_each_other() -> None:
    """Also for the checks of types alone: a reader can begin with one of the two."""
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in MODULES}
    needs = {name: set() for name in names}
    for name, path in names.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                below = {f"{node.module}.{alias.name}" for alias in node.names}
                needs[name] |= ({node.module} | below) & names.keys() - {name}
    assert sum(map(len, needs.values())) > 300, "imports were found"
    TopologicalSorter(needs).prepare()


def test_nothing_that_computes_depends_on_presentation() -> None:
    for name, step in STEPS.items():
        if step.phase not in PRESENTATION:
            assert not {place(module) for module in closure(step.module)} & PRESENTATION, name


def test_the_root_holds_the_door_only() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules == {"__init__", "__main__", "cli", "prefork", "steps", "errors", "progress", "processor", "gpus"}
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders | modules - {"__init__"} == set(LEVEL)
    assert all((PACKAGE / folder / "__init__.py").is_file() for folder in folders)


def test_paths_under_results_are_written_in_one_module() -> None:
    allowed = {"artifacts/layout.py"}
    for path in MODULES:
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        paths = {text for text in strings if text.startswith("results/") and "\n" not in text}
        assert path.relative_to(PACKAGE).as_posix() in allowed or not paths, path


def test_every_data_file_of_the_package_is_fingerprinted_by_some_step() -> None:
    known = {file for step in STEPS.values() for module in closure(step.module) for file in data_files(module)}
    kept = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".py"}
    kept = {path for path in kept if path.parent.name not in ("__pycache__", "template")}
    assert {path.name for path in kept - known} == {"py.typed"}
