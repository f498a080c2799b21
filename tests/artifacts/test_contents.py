"""The content of files is known without reading them again, and never from their times."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from decorec.artifacts import contents
from decorec.artifacts.contents import Contents


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what is remembered; in it a file lasts from the moment that it is written."""
    monkeypatch.setattr(contents, "SETTLED", -1_000_000_000_000)
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    names: list[str] = []
    plain = contents._Group.read

    def noted(group: contents._Group) -> tuple[str, bool]:
        names.extend(path.name for path in group.files)
        return plain(group)

    monkeypatch.setattr(contents._Group, "read", noted)
    return names


def write(folder: Path, **texts: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts]


def test_a_copy_with_other_times_has_the_content_of_the_first(tmp_path: Path, cache: Path) -> None:
    files = write(tmp_path / "own", items="a", sales="b")
    before, each = Contents(cache).of(files), Contents(cache).of_each(files)
    for file in files:
        os.utime(file, (1, 1))
    assert (Contents(cache).of(files), Contents(cache).of_each(files)) == (before, each)
    shutil.copytree(tmp_path / "own", tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(tmp_path / "own")
    (tmp_path / "copy").rename(tmp_path / "own")
    assert (Contents(cache).of(reversed(files)), Contents(cache).of_each(files)) == (before, each)


def test_a_byte_in_place_of_another_is_another_content_whatever_the_time(tmp_path: Path, cache: Path) -> None:
    (file,) = files = write(tmp_path, items="a title")
    before, facts = Contents(cache).of(files), file.stat()
    with file.open("r+b") as handle:
        handle.write(b"A")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns, file.stat().st_ino) == (
        facts.st_size,
        facts.st_mtime_ns,
        facts.st_ino,
    )
    assert Contents(cache).of(files) != before


def test_another_name_is_another_content(tmp_path: Path, cache: Path) -> None:
    one, two = write(tmp_path, one="same", two="same")
    assert Contents(cache).of([one]) != Contents(cache).of([two])


def test_what_is_no_file_has_no_content(tmp_path: Path, cache: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for ever
    (tmp_path / "link").symlink_to("nowhere")
    (file,) = write(tmp_path, items="a")
    others = [tmp_path / name for name in ("pipe", "link", "absent", "a\0b", "x" * 4_000)] + [tmp_path]
    assert Contents(cache).of_each([*others, file]) == [""] * len(others) + [Contents(cache).of([file])]
    assert Contents(cache).of(others) == "" and Contents(cache).of([]) == ""


def test_only_what_has_changed_is_read_again(tmp_path: Path, cache: Path, read: list[str]) -> None:
    files = write(tmp_path / "own", a="1", b="2", c="3")
    before = Contents(cache).of_each(files)
    assert sorted(read) == ["a", "b", "c"]
    read.clear()
    assert Contents(cache).of_each(files) == before and read == []
    write(tmp_path / "own", b="4")
    after = Contents(cache).of_each(files)
    assert read == ["b"] and [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path, read: list[str]) -> None:
    """It may change again within one tick of the clock, with the same size."""
    files = write(tmp_path / "own", a="1")
    for _ in range(2):
        Contents(tmp_path / "cache").of(files)
    assert read == ["a", "a"] and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\xff\n{}", b"[]", None])
def test_a_damaged_memory_counts_as_absent(tmp_path: Path, cache: Path, read: list[str], damage: bytes | None) -> None:
    files = write(tmp_path / "own", a="1", b="2")
    before, memory = Contents(cache).of(files), cache / "contents.json"
    whole = memory.read_bytes()
    memory.write_bytes(whole.replace(before.encode(), before[::-1].encode()) if damage is None else damage)
    read.clear()
    assert Contents(cache).of(files) == before and read == ["a", "b"]
    assert memory.read_bytes() == whole, "mended"


def test_processes_leave_each_other_what_they_have_read(tmp_path: Path, cache: Path, read: list[str]) -> None:
    one, two, gone = write(tmp_path / "own", one="1", two="2", gone="3")
    first, second = Contents(cache), Contents(cache)
    first.of_each([one, gone])
    gone.unlink()
    second.of([two])
    first.of([two])
    read.clear()
    Contents(cache).of_each([one, two])
    assert read == [] and "gone" not in (cache / "contents.json").read_text()


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, cache: Path, read: list[str]) -> None:
    cache.write_text("a file")
    files = write(tmp_path / "own", a="1")
    assert Contents(cache).of(files) == Contents(cache).of(files) != ""
    assert read == ["a", "a"]
