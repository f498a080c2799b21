"""What the operating system refuses is one message with file, cause and remedy, and leaves no partial file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse

from decorec.artifacts.files import (
    atomic_path,
    read_table,
    write_arrays,
    write_json,
    write_sparse,
    write_table,
    write_text,
)
from decorec.errors import DecorecError, explain
from tests.support.disks import disk
from tests.support.hostile import Hostile

NOISE = np.random.default_rng(0).random(100_000)
WRITERS: dict[str, Callable[[Path], None]] = {
    "text": lambda path: write_text(path, "word " * 100_000),
    "json": lambda path: write_json(path, {"noise": NOISE.tolist()}),
    "table": lambda path: write_table(path, pl.DataFrame({"x": NOISE})),
    "arrays": lambda path: write_arrays(path, {"x": NOISE}),
    "sparse": lambda path: write_sparse(path, scipy.sparse.csr_matrix(NOISE.reshape(100, -1))),
}
SAMPLE = '{"source": "sample", "items": 60, "users": 60}'
CRAWL = ["crawl", "--dataset", '{"source": "amazon2018", "category": "Test"}', "--settings", '{"private_hosts": true}']


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and path.name != "other"]


def run(*arguments: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """A step as the command line runs it; ``before``: a command that starts it."""
    command = [*before, sys.executable, "-m", "decorec", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def sample(folder: Path) -> list[str]:
    """The command of the step sample, with its files under ``folder``."""
    outputs = [f"--{name}={folder / name}" for name in ("reviews", "meta", "pictures")]
    return ["sample", "--dataset", SAMPLE, *outputs]


def crawl(folder: Path, addresses: list[str]) -> list[str]:
    """The command of the step crawl for one item of each address, with its cache in ``folder``."""
    items = {"item": addresses, "image_urls": [[address] for address in addresses]}
    pl.DataFrame(items).write_parquet(folder / "items")
    files = {"catalogue": "items", "cache": "cache", "images": "images"}
    return [*CRAWL, *(f"--{name}={folder / file}" for name, file in files.items())]


def assert_told(result: subprocess.CompletedProcess[str], *parts: object) -> None:
    """One line that holds ``parts``, and exit status 1."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("decorec ")]
    assert all(str(part) in line for part in parts), line


@pytest.mark.parametrize("kind", WRITERS)
def test_every_writer_on_a_full_disk(kind: str, tmp_path: Path) -> None:
    with disk(tmp_path / "small", "size=64k") as small:
        target = small / "folder" / "file"
        with pytest.raises(DecorecError, match=rf"^{target}: the disk is full; free some space") as told:
            WRITERS[kind](target)
        assert "\n" not in str(told.value)
        assert leftovers(small) == []


def test_steps_on_a_full_disk(tmp_path: Path) -> None:
    with disk(tmp_path / "cache", "size=64k") as small, Hostile() as server:
        told = run(*sample(small))
        assert_told(told, small, "the disk is full; free some space, then run the same command again")
        assert leftovers(small) == []
        # Pictures are written by processes of their own.
        assert_told(run(*crawl(tmp_path, [f"{server.url}/ok/{i}.jpg" for i in range(60)])), small, "the disk is full")
        assert not (tmp_path / "images").exists()


def test_a_read_only_disk_a_folder_in_the_way_and_a_file_in_the_way(tmp_path: Path) -> None:
    with disk(tmp_path / "ro", "ro,size=64k") as frozen:
        assert_told(run(*sample(frozen)), frozen, "the file system is read-only; make it writable")
    (tmp_path / "reviews" / "inside").mkdir(parents=True)
    assert_told(run(*sample(tmp_path)), tmp_path / "reviews", "expected a file, found a folder; move it away")
    (tmp_path / "file").touch()
    assert_told(run(*sample(tmp_path / "file")), tmp_path / "file", "expected a folder, found a file; move it away")
    with pytest.raises(DecorecError, match=r"reviews: expected a parquet table, found a folder; move it away"):
        read_table(tmp_path / "reviews")


def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    # Root may write everywhere, unless it gives up the capability to.
    plain = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    assert_told(run(*sample(tmp_path), before=plain), tmp_path, "permission denied")


def test_too_many_open_files(tmp_path: Path) -> None:
    script = f"""
import os, resource
from pathlib import Path
from decorec.artifacts.files import read_text, write_text
from decorec.errors import DecorecError, explain
file = Path({str(tmp_path / "file")!r})
write_text(file, "before")
limit = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
taken = []
try:
    while True:
        taken.append(os.open("/", os.O_RDONLY))
except OSError:
    pass
for act in (lambda: write_text(file, "after"), lambda: read_text(file)):
    try:
        act()
    except DecorecError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    message = f"{tmp_path / 'file'}: too many files are open; raise the limit, such as by `ulimit -n 4096`"
    assert done.stdout.splitlines() == [f"{message}, then run the same command again"] * 2
    assert (tmp_path / "file").read_text() == "before" and leftovers(tmp_path) == ["file"]


def test_a_rename_to_another_disk(tmp_path: Path) -> None:
    (tmp_path / "part").touch()
    with disk(tmp_path / "images", "size=64k") as images:
        with pytest.raises(OSError) as refused:
            (tmp_path / "part").rename(images / "picture.jpg")
        told = str(explain(refused.value, ""))
    assert told.startswith(f"{images}/picture.jpg: its temporary file lies on another disk; put the whole folder ")


def test_what_a_killed_writer_left_is_deleted_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    target = tmp_path / "file [1].txt"
    left = tmp_path / f".{target.name}.killed.part"
    left.touch()
    with atomic_path(target) as slow:
        write_text(target, "meanwhile")
        assert slow.exists() and not left.exists()
        slow.write_text("at last")
    assert target.read_text() == "at last" and leftovers(tmp_path) == [target.name]
