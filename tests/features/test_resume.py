"""kill -9 at random moments of the features step: the result is that of an undisturbed run."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import read_table, write_table
from decorec.artifacts.seal import provenance
from decorec.config.features import FeaturesConfig
from decorec.features.row_cache import RowCache, input_key
from tests.support.small_shop import step_files, write_shop

CONFIG = {"encoder": "fit", "epochs": 1, "batch_size": 4, "device": "cpu"}
ITEMS = 64


def run_step(folder: str) -> None:
    """The features step in a process of its own, with small chunks."""
    from decorec.features import extract
    from decorec.features.step import features

    extract.CHUNK = 8
    features(settings=FeaturesConfig.model_validate(CONFIG), **step_files(Path(folder)), threads=1)


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Processes that start with everything imported: a kill then hits work, not imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["decorec.features.fitted_encoder", "decorec.features.extract", __name__])
    first = context.Process(target=os.getpid)
    first.start()
    first.join()
    return context


def _chunks(folder: Path) -> dict[Path, int]:
    """Chunks as they stand and their times; the step may write them meanwhile."""
    found: dict[Path, int] = {}
    for place, _, names in os.walk(folder / "cache" / "features"):
        for path in (Path(place) / name for name in names if name.endswith(".safetensors")):
            with suppress(FileNotFoundError):
                found[path] = path.stat().st_mtime_ns
    return found


def _outputs(folder: Path) -> Iterator[bytes]:
    for name in ("text", "image"):
        yield step_files(folder)[name].read_bytes()


def _run(context: ForkServerContext, folder: Path, chunks: int | None = None, seconds: float = 0.0) -> int | None:
    """Exit code of the step; killed with SIGKILL ``seconds`` after it has written ``chunks`` chunks."""
    process = context.Process(target=run_step, args=(str(folder),))
    process.start()
    if chunks is not None:
        enough = len(_chunks(folder)) + chunks
        while process.is_alive() and len(_chunks(folder)) < enough:
            time.sleep(0.002)
        process.join(seconds)
        if process.is_alive():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode


def test_killed_ten_times_gives_the_same_bytes(tmp_path: Path, context: ForkServerContext) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
        write_shop(folder, ITEMS)
    assert _run(context, undisturbed) == 0

    random = np.random.default_rng(0)
    kills, progressed = 0, 0
    while kills < 10:
        before = _chunks(killed)
        code = _run(context, killed, int(random.integers(0, 4)), float(random.uniform(0, 0.3)))
        if code == 0:  # it was faster: without its rows it starts over, but for the trained encoder
            shutil.rmtree(killed / "cache/features")
            continue
        assert code == -signal.SIGKILL
        kills += 1
        after = _chunks(killed)
        assert all(after[path] == written for path, written in before.items() if path in after), "chunk written again"
        progressed += len(after) > len(before)
    assert progressed >= 3, "the kills hit the extraction"
    assert _run(context, killed) == 0
    assert list(_outputs(killed)) == list(_outputs(undisturbed))
    assert {path.name for path in _chunks(killed)} == {path.name for path in _chunks(undisturbed)}


def test_rows_say_nothing_of_the_tables_that_their_inputs_stood_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new item leaves the rows of the others valid, in a step that has read the new table."""
    monkeypatch.chdir(tmp_path)
    table, found = Path("results/shop/items.parquet"), []
    keys = [input_key("text", text) for text in ("a hat", "a cap", "a tie")]
    for count in (1, 2, 3):
        with provenance():
            write_table(table, pl.DataFrame({"item": list(map(str, range(count)))}))
        with provenance():
            read_table(table)
            rows = RowCache(Path("results/cache"), {"encoder": "one"}, 4)
            found.append(sorted(rows.read(keys)))
            rows.add([keys[count - 1]], np.ones((1, 2), np.float32), np.zeros(1, bool))
    assert found == [[], [0], [0, 1]]


def test_rows_that_were_not_used_for_long_can_be_removed(tmp_path: Path) -> None:
    """By the command of the documentation; a row that is asked for counts as used."""
    key, row = input_key("text", "a hat"), (np.ones((1, 2), np.float32), np.zeros(1, bool))
    used, unused = (RowCache(tmp_path / "results" / "cache", {"encoder": name}, 4) for name in ("one", "other"))
    assert used.read([key]) == {}, "there is no folder yet"
    for rows in (used, unused):
        rows.add([key], *row)
        os.utime(rows.folder, (0, 0))
    assert set(used.read([key])) == {0}
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "using.md").read_text()
    (command,) = (line for line in page.splitlines() if line.strip().startswith("find results/cache/features"))
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert used.folder.is_dir() and not unused.folder.exists()
