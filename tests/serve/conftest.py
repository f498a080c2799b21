"""A trained run of a small shop, and a server of it: for each file of tests their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from decorec import load
from decorec.recommend.trained import TrainedRun
from tests.support.service import Service, serving, shop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop(tmp_path_factory.mktemp("serve") / "results")


@pytest.fixture(scope="module")
def trained(folder: Path) -> TrainedRun:
    return load(folder)


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with serving(folder, "--watch", "0.05") as found:
        yield found
