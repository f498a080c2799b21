"""What holds for every test process."""

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

LONGEST = ("workflow/test_slurm.py", "faults/test_kills.py", "workflow/test_workflow.py")

# One thread per test process: the processes share the cores, and threads that wait for each other spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell without job control starts what runs in its background with Ctrl-C ignored, and all processes inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What a test sets in the environment ends with it: a step that is run in this process sets number of threads."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """While tests are collected, libraries are imported and items made: all of it stays, and none is looked through."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that drive the workflow come first: each takes minutes, and what comes last keeps one worker alone.

    Of these the longest come first. The tests under SLURM wait more than they compute, beside whatever else runs.
    """
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    long = {item.path: len(places) for item in items if item.get_closest_marker("workflow")} | places
    items.sort(key=lambda item: long.get(item.path, len(places) + 1))
