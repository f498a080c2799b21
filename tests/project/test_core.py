"""Who only loads a model installs little: what the package asks for without extras is enough."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from decorec.errors import explain
from tests.recommend.test_trained import saved
from tests.support.workplace import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def site_of(requirements: list[str], folder: Path) -> Path:
    """A folder for Python's path with these packages and what they need in turn, as links, and this package."""
    folder.mkdir()
    (folder / "decorec").symlink_to(REPOSITORY / "decorec")
    described = Path(str(distribution("decorec").locate_file(""))).glob("decorec-*.dist-info")
    linked = {path.name: path for path in described}
    waiting, found = [(Requirement(line), {""}) for line in requirements], set()
    while waiting:
        requirement, extras = waiting.pop()
        marker = requirement.marker
        if requirement.name in found or (marker and not any(marker.evaluate({"extra": extra}) for extra in extras)):
            continue
        found.add(requirement.name)
        try:
            installed = distribution(requirement.name)
        except PackageNotFoundError:  # only for another kind of machine, such as a library for a GPU
            continue
        waiting += [(Requirement(line), {"", *requirement.extras}) for line in installed.requires or []]
        names = {file.parts[0] for file in installed.files or []} - {"..", "__pycache__"}
        linked |= {name: Path(str(installed.locate_file(name))) for name in names if not name.endswith(".pth")}
    for name, path in linked.items():
        (folder / name).symlink_to(path)
    return folder


USE = """
import sys
sys.path.insert(0, {site!r})
import decorec
run = decorec.load({run!r})
first = run.recommend(run.items[:3], k=5)
assert len(first) == 5 and len(run.similar(run.items[0])) > 0 and run.embed(run.items[:2]).shape[0] == 2
from decorec.cli import main
main(["recommend", "--run", {run!r}, "--histories", {baskets!r}, "--output", {output!r}])
missing = []
for name in {absent!r}:
    try:
        __import__(name)
    except ModuleNotFoundError:
        missing.append(name)
assert missing == {absent!r}, missing
main(["serve", "--run", {run!r}])
"""


def test_a_trained_run_recommends_with_nothing_else_installed(tmp_path: Path) -> None:
    run, _ = saved(tmp_path / "results/shop/runs/decorec/seed-0", name="decorec")
    (tmp_path / "baskets.csv").write_text("user,item,timestamp\nann,item 1,5\nann,item 2,6\nbob,item 4,7\n")
    code = USE.format(
        site=str(site_of(PROJECT["dependencies"], tmp_path / "site")),
        run=str(run),
        baskets=str(tmp_path / "baskets.csv"),
        output=str(tmp_path / "lists.csv"),
        absent=["snakemake", "optuna", "matplotlib", "fastapi", "onnx", "dask", "pytest"],
    )
    # -I -S: neither this environment's packages nor its variables.
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert (tmp_path / "lists.csv").read_text().startswith("user,rank,item,score,reason\n"), result.stderr
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    assert "expected the package uvicorn, found that it is not installed" in result.stderr
    assert "run: pip install 'decorec[serve]'" in result.stderr


@pytest.mark.parametrize(
    "module, command",
    [
        ("fastapi.responses", "pip install 'decorec[serve]'"),
        ("prometheus_client", "pip install 'decorec[serve]'"),
        ("onnxruntime", "pip install 'decorec[export]'"),
        ("snakemake", "pip install 'decorec[workflow]'"),
        ("elsewhere", "pip install 'elsewhere'"),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(module: str, command: str) -> None:
    assert str(explain(ModuleNotFoundError(name=module), "")).endswith(command)
    assert explain(ModuleNotFoundError(name="decorec.nothing"), "") is None


def test_the_extra_dev_has_all_others() -> None:
    """The lock file is made from it, and the gate installs it."""
    extras = PROJECT["optional-dependencies"]
    (whole,) = [Requirement(line) for line in extras["dev"] if Requirement(line).name == "decorec"]
    assert whole.extras == extras.keys() - {"dev"}
