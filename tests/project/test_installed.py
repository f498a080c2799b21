"""The package as it is installed from its wheel: in a folder of one's own, and as a module of another workflow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.workplace import REPOSITORY

pytestmark = pytest.mark.workflow


def built(repository: Path, folder: Path) -> Path:
    """The wheel."""
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), "."]
    result = subprocess.run(build, cwd=repository, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = folder.glob("decorec-*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(REPOSITORY, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """A folder with the content of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "site")
    return wheel.parent / "site"


def contents(wheel: Path) -> dict[str, int]:
    """File -> checksum."""
    with zipfile.ZipFile(wheel) as archive:
        return {file.filename: file.CRC for file in archive.infolist()}


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


def test_an_image_is_built_from_the_lock_and_all_that_the_wheel_has(wheel: Path, tmp_path: Path) -> None:
    """What an engine for containers would send to the build, by `.dockerignore`, gives the same wheel."""
    listed = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    everything, *names, generated = listed
    assert (everything, generated) == ("*", "**/__pycache__") and all(name.startswith("!/") for name in names)
    sent = tmp_path / "sent"
    for name in (name.removeprefix("!/") for name in names):
        source, target = REPOSITORY / name, sent / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    assert contents(built(sent, tmp_path / "wheel")) == contents(wheel)

    text = (REPOSITORY / "envs/Containerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert {"requirements.lock", "envs/install.py", "envs/uv.lock"} < set(copied)
    assert all((sent / name).exists() for name in copied)
    assert "python envs/install.py requirements.lock\n" in text and "--no-deps" in text, "nothing beside the lock"
