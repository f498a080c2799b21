"""Pictures are stored once for each content, in processes of their own, whatever happens meanwhile."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from decorec.acquire.crawl.image_normalisation import LARGE
from decorec.acquire.crawl.picture_store import Store
from decorec.artifacts.layout import picture_path
from tests.support.hostile import picture

LIMIT = 10_000_000


def store_in(folder: Path) -> closing[Store]:
    return closing(Store(folder / "cache", folder / "parts", 256, LIMIT))


def test_large_pictures_are_decoded_one_at_a_time_and_the_others_beside_them(tmp_path: Path) -> None:
    body = io.BytesIO()
    Image.new("L", (3_000, 3_000)).save(body, "PNG")
    assert LARGE < 8 * 3_000**2
    with store_in(tmp_path) as store:
        lock = os.open(tmp_path / "parts", os.O_RDONLY)  # as a process that decodes a large picture holds it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waiting = store.add(body.getvalue())
            for number in range(3):
                assert store.add(picture(number)).result().status == "ok"
            assert not waiting.done()
        finally:
            os.close(lock)
        assert waiting.result().status == "ok"


def test_a_picture_that_cannot_be_written_is_no_fault_of_the_picture(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        (tmp_path / "cache" / "images").mkdir(parents=True)
        for number in range(256):
            (tmp_path / "cache" / "images" / f"{number:02x}").touch()
        with pytest.raises(OSError, match=r"exists|directory"):
            store.add(picture(1)).result()


def test_store_keeps_once_per_content_and_leaves_no_parts(tmp_path: Path) -> None:
    bodies = [picture(number, (400, 300)) for number in range(20)] * 3 + [b"no picture"]
    with store_in(tmp_path) as store, ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda body: store.add(body).result(), bodies))
        assert not [path for path in (tmp_path / "parts").rglob("*") if path.is_file()]
    assert [outcome.sha256 for outcome in outcomes] == [hashlib.sha256(body).hexdigest() for body in bodies]
    assert [(o.status, o.width, o.height, o.error) for o in outcomes[:60]] == [("ok", 400, 300, None)] * 60
    assert (outcomes[60].status, outcomes[60].error) == ("permanent", "not-an-image")
    stored = sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    names = {outcome.sha256 for outcome in outcomes[:60] if outcome.sha256}
    assert stored == sorted(picture_path(tmp_path / "cache", name) for name in names)
    assert not (tmp_path / "parts").exists()


def test_stored_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    body = picture(1, (700, 500))
    paths = []
    for name in ("one", "two"):
        with store_in(tmp_path / name) as store:
            outcome = store.add(body).result()
        assert outcome.sha256 is not None
        paths.append(picture_path(tmp_path / name / "cache", outcome.sha256))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        assert image.size == (358, 256)


def test_leftovers_of_a_kill_are_removed_and_empty_files_not_trusted(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        outcome = store.add(picture(1)).result()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "half").write_bytes(b"\xff\xd8")
    with store_in(tmp_path) as store:
        assert not [path for path in (tmp_path / "parts").rglob("*") if path.is_file()]
        assert store.knows(outcome)
        assert outcome.sha256 is not None
        picture_path(tmp_path / "cache", outcome.sha256).write_bytes(b"")
        assert not store.knows(outcome)
        picture_path(tmp_path / "cache", outcome.sha256).unlink()
        assert not store.knows(outcome)
