"""The files of configuration and of environments in the repository fit the code and each other."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from decorec.config import describe, load
from decorec.config.base import merge
from tests.support.workplace import REPOSITORY


def test_the_schema_is_the_one_that_the_configuration_generates() -> None:
    file = REPOSITORY / "workflow/schemas/config.schema.json"
    assert json.loads(file.read_text()) == describe(), "run: make schema"


OVERLAYS = sorted(f"config/{file.name}" for file in (REPOSITORY / "config").glob("*.yaml"))


@pytest.mark.parametrize("name", ["config.yaml", *OVERLAYS])
def test_the_configurations_in_the_repository_are_valid(name: str) -> None:
    assert {"config/scientific.yaml", "config/competitors.yaml", "config/tuned-scientific.yaml"} <= set(OVERLAYS)
    base, overlay = (yaml.safe_load((REPOSITORY / file).read_text()) for file in ("config.yaml", name))
    datasets = overlay.get("datasets", base["datasets"])  # they are replaced; everything else is laid over key by key
    assert load(merge(base, overlay) | {"datasets": datasets}).datasets


def test_conda_environments_have_the_versions_of_the_lock_file() -> None:
    locked: dict[str, str] = {}
    for name, version in re.findall(r"^([\w-]+)==(\S+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE):
        locked.setdefault(name, version)  # the first of several markers is the one of Python 3.11
    other_names = {"dask-core": "dask", "pytorch-cpu": "torch", "pytorch-gpu": "torch", "matplotlib-base": "matplotlib"}
    other_names["python-isal"] = "isal"
    for file in (REPOSITORY / "envs").glob("*.yaml"):
        for entry in yaml.safe_load(file.read_text())["dependencies"]:
            name, _, version = entry.partition("=")
            if name != "python":
                assert locked[other_names.get(name, name)] == version, f"{file.name}: {name}"
