"""The package as it is installed from its wheel: in a folder of one's own, and as a module of another workflow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.workplace import REPOSITORY

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), "."]
    result = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = folder.glob("decorec-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def call(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_new_folder_runs_the_installed_workflow(site: Path, tmp_path: Path) -> None:
    begun = call(site, tmp_path, "decorec", "init", "shop")
    assert begun.returncode == 0 and "cd shop" in begun.stdout, begun.stderr
    shop = tmp_path / "shop"
    for copied in ("config.yaml", "config/quick.yaml", "profiles/slurm/profile.yaml", "results/README.md"):
        assert (shop / copied).read_bytes() == (REPOSITORY / copied).read_bytes()
    target = "results/sample/raw/reviews.jsonl.gz"
    result = call(site, shop, "snakemake", "--cores", "1", "--", target)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (shop / ".snakemake/package/decorec").samefile(site / "decorec"), "jobs use the installed package"
    assert "done in" in (shop / "logs/sample/download.log").read_text()
    # Everything else can be planned, and what is done is done.
    rest = ("--cores", "1", "--dry-run", "--quiet", "host", "--", "results/tables/main.csv")
    planned = call(site, shop, "snakemake", *rest)
    assert planned.returncode == 0 and "evaluate" in planned.stdout and "\nsample " not in planned.stdout

    again = call(site, tmp_path, "decorec", "init", "shop")
    assert again.returncode == 1 and "expected a folder without the" in again.stderr
    (shop / "README.md").write_text("mine")
    assert call(site, tmp_path, "decorec", "init", "shop").returncode == 1
    assert (shop / "README.md").read_text() == "mine"


def test_another_workflow_takes_it_as_a_module(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(REPOSITORY / "docs/examples/module", folder)
    planned = call(site, folder, "snakemake", "--cores", "1", "--dry-run", "--quiet", "host")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "recommendation_train" in planned.stdout and "\nbest " in planned.stdout
    result = call(site, folder, "snakemake", "--cores", "1", "--", "results/sample/shop/reviews.json.gz")
    assert result.returncode == 0, result.stdout + result.stderr
