"""What several folders of tests share: a tiny shop that has gone through the workflow, once in a session.

One thread per test process: the processes share the cores, and threads that wait for each other spin.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.support.workplace import PAGE, SETTINGS, TARGETS, WHOLE, Workplace


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace in which everything has been computed."""
    workplace = Workplace(tmp_path_factory.mktemp("first") / "shop", SETTINGS, *TARGETS)
    result = workplace.snakemake("--show-failed-logs", "--", *TARGETS)
    assert result.returncode == 0, result.stdout + result.stderr
    return workplace


@pytest.fixture(scope="session")
def whole(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace that goes on from the finished one to the page with everything."""
    workplace = finished.copy(tmp_path_factory.mktemp("whole") / "shop", WHOLE)
    result = workplace.snakemake("--show-failed-logs", "--", PAGE)
    assert result.returncode == 0, result.stdout + result.stderr
    return workplace
