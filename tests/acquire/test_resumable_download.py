"""Fetching one large file, against a real server that misbehaves."""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from decorec.acquire import checksums
from decorec.acquire.http_session import session
from decorec.acquire.resumable_download import Stored, fetch
from decorec.errors import DecorecError
from tests.support.loopback import Loopback, Turn, zipped

PATH = "/file.json.gz"


def bring(server: Loopback, folder: Path, attempts: int = 8, waits: list[float] | None = None) -> Stored:
    with session() as client:
        sleep = (waits if waits is not None else []).append
        return fetch(server.url + PATH, folder, client, attempts=attempts, timeout=60.0, sleep=sleep)


def test_fetch_stores_the_served_bytes(tmp_path: Path) -> None:
    body = zipped(300_000)
    with Loopback({PATH: body}) as server:
        stored = bring(server, tmp_path)
    assert stored.path.read_bytes() == body
    assert stored.sums.bytes == len(body)
    assert not list(tmp_path.glob("*.part*"))
    assert [request.headers["Accept-Encoding"] for request in server.requests] == ["identity"]
    assert server.requests[0].headers["User-Agent"].startswith("decorec/")


def test_complete_file_is_not_fetched_again(tmp_path: Path) -> None:
    body = zipped(100_000)
    with Loopback({PATH: body}) as server:
        bring(server, tmp_path)
        assert server.served == len(body)
        assert bring(server, tmp_path).path.read_bytes() == body
        assert server.served == len(body)
    assert [request.status for request in server.requests] == [200, 304]


def test_complete_file_serves_when_the_server_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Loopback({PATH: zipped(10_000)}, [Turn(), Turn(status=503)]) as server:
        first = bring(server, tmp_path)
        assert bring(server, tmp_path) == first
    with caplog.at_level(logging.WARNING, "decorec"):
        assert bring(server, tmp_path) == first
    assert "using the cached copy" in caplog.text


def test_changed_file_is_fetched_anew_and_old_outputs_keep_their_bytes(tmp_path: Path) -> None:
    old, new = zipped(50_000, 1), zipped(60_000, 2)
    with Loopback({PATH: old}) as server:
        output = tmp_path / "output.gz"
        output.hardlink_to(bring(server, tmp_path).path)
        server.files[PATH] = new
        assert bring(server, tmp_path).path.read_bytes() == new
    assert output.read_bytes() == old


def test_damaged_cache_is_fetched_anew(tmp_path: Path) -> None:
    body = zipped(50_000)
    with Loopback({PATH: body}) as server:
        path = bring(server, tmp_path).path
        path.write_bytes(body[:-1] + b"x")
        assert bring(server, tmp_path).path.read_bytes() == body


@pytest.mark.parametrize(
    "facts", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"remote": {"url": 5}, "sums": {}}', None]
)
def test_damaged_facts_of_a_complete_file_cost_one_more_download(
    tmp_path: Path, facts: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    body = zipped(50_000)
    with Loopback({PATH: body}) as server:
        bring(server, tmp_path)
        (file,) = tmp_path.glob("*.json")
        good = json.loads(file.read_bytes())
        file.write_bytes(json.dumps(good | {"sums": {"bytes": "5", "sha256": 5}}).encode() if facts is None else facts)
        assert bring(server, tmp_path).path.read_bytes() == body
        assert json.loads(file.read_bytes()) == good
        assert bring(server, tmp_path).path.read_bytes() == body
    assert server.served == 2 * len(body)
    assert f"{file} is damaged; fetching it again" in caplog.text


@pytest.mark.parametrize(
    "facts", [b"", b"[]", b'{"url": "x"}', b'{"url": "x", "etag": 1, "modified": null, "size": "9"}']
)
def test_damaged_facts_of_a_part_begin_it_anew(tmp_path: Path, facts: bytes) -> None:
    body = zipped(400_000)
    with Loopback({PATH: body}, [Turn(cut=200_000), Turn(status=500)]) as server:
        with pytest.raises(DecorecError, match="in a row failed"):
            bring(server, tmp_path, attempts=1)
        (file,) = tmp_path.glob("*.part.json")
        file.write_bytes(facts)
        assert bring(server, tmp_path).path.read_bytes() == body
    assert "Range" not in server.requests[-1].headers


def test_resumes_after_a_reset_in_the_middle(tmp_path: Path) -> None:
    body = zipped(1_000_000)
    with Loopback({PATH: body}, [Turn(cut=400_000), Turn(cut=300_000)]) as server:
        assert bring(server, tmp_path).path.read_bytes() == body
    ranges = [int(request.headers["Range"][6:-1]) for request in server.requests[1:]]
    # A reset may swallow what lay in the sockets' buffers, never what was read before.
    assert 0 < ranges[0] <= 400_000 < ranges[1] + 400_000
    assert ranges[0] < ranges[1] <= 700_000
    etag = f'"{hash(body)}"'
    assert [request.headers["If-Range"] for request in server.requests[1:]] == [etag, etag]
    assert [request.status for request in server.requests] == [200, 206, 206]


def test_file_that_changed_between_connections_starts_over(tmp_path: Path) -> None:
    old, new = zipped(400_000, 1), zipped(400_000, 2)
    with Loopback({PATH: new}, [Turn(cut=200_000, body=old)]) as server:
        assert bring(server, tmp_path).path.read_bytes() == new
    assert [request.status for request in server.requests] == [200, 200]


def test_server_that_ignores_range_starts_over(tmp_path: Path) -> None:
    body = zipped(500_000)
    with Loopback({PATH: body}, [Turn(cut=300_000), Turn(ranges=False)]) as server:
        assert bring(server, tmp_path).path.read_bytes() == body
    assert "Range" in server.requests[1].headers
    assert [request.status for request in server.requests] == [200, 200]


def test_server_that_continues_elsewhere_starts_over(tmp_path: Path) -> None:
    body = zipped(500_000)
    wrong = Turn(headers={"Content-Range": f"bytes 7-{len(body) - 1}/{len(body)}"})
    with Loopback({PATH: body}, [Turn(cut=300_000), wrong]) as server:
        assert bring(server, tmp_path).path.read_bytes() == body
    assert [request.status for request in server.requests] == [200, 206, 200]


def test_server_that_breaks_and_continues_elsewhere_for_ever_is_given_up(tmp_path: Path) -> None:
    wrong = Turn(headers={"Content-Range": "bytes 7-8/9"})
    with (
        Loopback({PATH: zipped(500_000)}, [Turn(cut=200_000), wrong] * 25) as server,
        pytest.raises(DecorecError, match="in a row failed"),
    ):
        bring(server, tmp_path, attempts=4)
    assert len(server.requests) < 12


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    body, waits = zipped(10_000), []
    date = formatdate(time.time() + 250, usegmt=True)
    turns = [Turn(status=429, headers={"Retry-After": "7"}), Turn(status=503, headers={"Retry-After": date})]
    with Loopback({PATH: body}, turns) as server:
        assert bring(server, tmp_path, waits=waits).path.read_bytes() == body
    assert waits[0] == 7.0
    assert 60 < waits[1] <= 251


def test_retry_after_of_hours_is_an_error(tmp_path: Path) -> None:
    with (
        Loopback({PATH: b""}, [Turn(status=429, headers={"Retry-After": "7200"})]) as server,
        pytest.raises(DecorecError, match="asks to wait 7200 s"),
    ):
        bring(server, tmp_path)


def test_gives_up_after_the_given_attempts(tmp_path: Path) -> None:
    waits: list[float] = []
    with (
        Loopback({PATH: b""}, usual=Turn(status=500)) as server,
        pytest.raises(DecorecError, match=r"3 connections in a row failed.*HTTP 500.*run again"),
    ):
        bring(server, tmp_path, attempts=3, waits=waits)
    assert len(server.requests) == 3
    assert len(waits) == 2


def test_progress_resets_the_attempts(tmp_path: Path) -> None:
    body = zipped(2_000_000)
    with Loopback({PATH: body}, [Turn(cut=300_000)] * 6) as server:
        assert bring(server, tmp_path, attempts=2).path.read_bytes() == body


@pytest.mark.parametrize("status", [403, 404, 410])
def test_client_error_is_permanent_and_says_what_to_do(tmp_path: Path, status: int) -> None:
    with (
        Loopback({PATH: b""}, usual=Turn(status=status)) as server,
        pytest.raises(DecorecError, match=rf"{re.escape(server.url + PATH)}.*HTTP {status}.*category and base_url"),
    ):
        bring(server, tmp_path)
    assert len(server.requests) == 1


def test_redirect_loop_is_permanent(tmp_path: Path) -> None:
    with (
        Loopback({PATH: b""}, usual=Turn(status=302, headers={"Location": PATH})) as server,
        pytest.raises(DecorecError, match="check base_url"),
    ):
        bring(server, tmp_path)


def test_content_length_too_large(tmp_path: Path) -> None:
    """The body ends early: the rest is asked for, which a server that lies does not have."""
    body = zipped(100_000)
    with (
        Loopback({PATH: body}, usual=Turn(claim=len(body) + 5_000)) as server,
        pytest.raises(DecorecError, match="connections in a row failed"),
    ):
        bring(server, tmp_path, attempts=3)
    with Loopback({PATH: body}, [Turn(claim=len(body) + 5_000)]) as server:
        assert bring(server, tmp_path).path.read_bytes() == body


def test_content_length_too_small(tmp_path: Path) -> None:
    body = zipped(100_000)
    with (
        Loopback({PATH: body}, usual=Turn(claim=len(body) - 5_000)) as server,
        pytest.raises(DecorecError, match="complete gzip file"),
    ):
        bring(server, tmp_path)
    assert not list(tmp_path.glob("*.gz"))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "html", "empty"])
def test_damaged_gzip_is_an_error_and_nothing_is_kept(tmp_path: Path, damage: str) -> None:
    body = zipped(100_000)
    bodies = {
        "truncated": body[:-4],
        "flipped": body[:-6] + bytes([body[-6] ^ 1]) + body[-5:],
        "html": b"<html>Please log in</html>",
        "empty": b"",
    }
    with Loopback({PATH: bodies[damage]}) as server:
        with pytest.raises(DecorecError, match="expected a complete gzip file"):
            bring(server, tmp_path)
        assert not list(tmp_path.glob("*.gz")) and not list(tmp_path.glob("*.part"))
        assert len(server.requests) == 1
        server.files[PATH] = body
        assert bring(server, tmp_path).path.read_bytes() == body


def test_pieces_that_do_not_fit_are_fetched_anew(tmp_path: Path) -> None:
    """A server without validators may change the file between two connections; the checksum tells."""
    old, new = zipped(400_000, 1), zipped(400_000, 2)
    nameless = {"ETag": ""}
    assert len(old) == len(new)
    with Loopback({PATH: new}, [Turn(cut=200_000, body=old, headers=nameless), Turn(headers=nameless)]) as server:
        assert bring(server, tmp_path).path.read_bytes() == new
    assert [request.status for request in server.requests] == [200, 206, 200]


def test_labelled_as_encoded_is_stored_as_served(tmp_path: Path) -> None:
    body = zipped(50_000)
    with Loopback({PATH: body}, usual=Turn(headers={"Content-Encoding": "gzip"})) as server:
        assert bring(server, tmp_path).path.read_bytes() == body
    assert len(server.requests) == 1


def test_full_disk_is_found_before_the_body_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(checksums.shutil, "disk_usage", lambda folder: usage)
    with (
        Loopback({PATH: zipped(100_000)}) as server,
        pytest.raises(DecorecError, match=r"free disk under .*free some space"),
    ):
        bring(server, tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_two_fetches_of_one_url_do_not_disturb_each_other(tmp_path: Path) -> None:
    body = zipped(600_000)
    found: list[bytes] = []
    with Loopback({PATH: body}, usual=Turn(pause=0.002)) as server:
        threads = [
            threading.Thread(target=lambda: found.append(bring(server, tmp_path).path.read_bytes())) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [body] * 3
    assert server.served == len(body)
