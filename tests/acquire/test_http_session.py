"""Host map, waits between attempts, and the server of the sample shop."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import requests

from decorec.acquire.addresses import without_passwords
from decorec.acquire.http_session import backoff, retry_after, session
from decorec.acquire.sample.server import shop_server
from tests.support.loopback import Loopback, Turn


def test_host_map_keeps_url_and_host_header(tmp_path: Path) -> None:
    moved = Turn(status=302, headers={"Location": "http://Other.example:81/b"})
    with Loopback({"/b": b"body"}, [moved]) as server:
        target = ("127.0.0.1", server.port)
        with session(connect_to={"shop.example": target, "other.example": target}) as client:
            answer = client.get("http://SHOP.example/a")
            client.get("http://user:word@shop.example:8080/b")
    assert answer.content == b"body"
    assert answer.url.lower() == "http://other.example:81/b"
    hosts = [request.headers["Host"].lower() for request in server.requests]
    assert hosts == ["shop.example", "other.example:81", "shop.example:8080"]


def test_host_map_leaves_other_hosts_alone() -> None:
    with Loopback({"/a": b"a"}) as server, session(connect_to={"shop.example": ("127.0.0.1", 9)}) as client:
        assert client.get(server.url + "/a").content == b"a"
        with pytest.raises(requests.ConnectionError):
            client.get("http://shop.example/a")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:word@shop.example:80/a@b?c#d", "http://shop.example:80/a@b?c#d"),
        ("https://us%20er:p@ss@shop.example", "https://shop.example"),
        ("http://token@shop.example/", "http://shop.example/"),
        ("http://shop.example/a//b@c", "http://shop.example/a//b@c"),
        ("images/a@b.jpg", "images/a@b.jpg"),
        ("Failed to parse: 'http://user:word@shop.example:x/'", "Failed to parse: 'http://shop.example:x/'"),
    ],
)
def test_urls_without_passwords(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 5 ", 5.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:05 GMT", 0.0),
        ("Thursday, 01-Jan-70 00:01:40 GMT", 90.0),
        ("-3", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    headers = requests.structures.CaseInsensitiveDict({} if value is None else {"retry-after": value})
    assert retry_after(headers, now=10.0) == seconds


def test_backoff_is_jittered_and_capped() -> None:
    rng = random.Random(0)
    for attempt, bound in [(0, 0.5), (3, 4.0), (7, 60.0), (10_000, 60.0)]:
        waits = [backoff(attempt, rng) for _ in range(300)]
        assert 0 <= min(waits) < 0.1 * bound and 0.9 * bound < max(waits) <= bound


def test_shop_server(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "a b.jpg").write_bytes(b"0123456789")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    with shop_server(folder) as port, requests.Session() as client:
        base = f"http://127.0.0.1:{port}"
        url = f"{base}/pictures/a%20b.jpg"
        whole = client.get(url)
        assert (whole.status_code, whole.content) == (200, b"0123456789")
        assert whole.headers["Content-Type"] == "image/jpeg"
        head = client.head(url)
        assert (head.headers["Content-Length"], head.content) == ("10", b"")
        for header, body in [
            ("bytes=4-", b"456789"),
            ("bytes=2-3", b"23"),
            ("bytes=-3", b"789"),
            ("bytes=8-99", b"89"),
        ]:
            part = client.get(url, headers={"Range": header, "If-Range": whole.headers["ETag"]})
            assert (part.status_code, part.content) == (206, body)
        assert client.get(url, headers={"Range": "bytes=10-"}).status_code == 416
        assert client.get(url, headers={"Range": "bytes=1-", "If-Range": '"other"'}).status_code == 200
        assert client.get(url, headers={"Range": "lines=1-"}).content == b"0123456789"
        assert client.get(url, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
        for path in ("/", "/pictures", "/none.jpg", "/link", "/%2e%2e/secret", "/pictures/..%2f..%2fsecret", "/%00"):
            request = requests.Request("GET", base).prepare()
            request.url = base + path
            assert client.send(request).status_code == 404, path
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=2)
