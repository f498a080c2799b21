"""The parts of the crawl: frontier, queue, addresses, journal, opt-outs, estimate."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from decorec.acquire.crawl import connection
from decorec.acquire.crawl.dns import PrivateAddressError, Resolver, is_public
from decorec.acquire.crawl.fetch import host_of, opted_out
from decorec.acquire.crawl.frontier import Frontier
from decorec.acquire.crawl.host_queue import STRIKES, HostQueue, Job
from decorec.acquire.crawl.journal import Journal
from decorec.acquire.crawl.outcome import Outcome, PictureError
from decorec.acquire.crawl.robots import Robots
from decorec.acquire.crawl.visit import Visitor
from decorec.config.acquire import CrawlConfig
from decorec.errors import DecorecError

OK = Outcome("ok", None, 200, 1, "ab" * 32, 10, 10, 100)
GONE = Outcome("permanent", "gone", 410, 1)
BUSY = Outcome("transient", "timeout", None, 3)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
        ("::127.0.0.1", False),
        ("::10.1.2.3", False),
        ("::8.8.8.8", True),
        ("64:ff9b:1::1", False),
        ("64:ff9b:1:ffff::8.8.8.8", False),
        ("fec0::1", False),
        ("feff::1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def answers(monkeypatch: pytest.MonkeyPatch, *rounds: list[str]) -> list[str]:
    """Let name look-ups give ``rounds``, one after the other; returns the list of names looked up."""
    asked: list[str] = []

    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in rounds[len(asked) - 1]]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asked


def test_one_private_address_among_several_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ["8.8.8.8", "10.0.0.1"], ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(PrivateAddressError, match=r"10\.0\.0\.1"):
        Resolver(allow_private=False).resolve("rebind.test", 80)
    assert Resolver(allow_private=True).resolve("rebind.test", 80) == ["8.8.8.8", "10.0.0.1"]


def test_connections_go_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    targets: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], *_: Any, **__: Any) -> None:
        targets.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(connection, "create_connection", refuse)
    config = CrawlConfig(respect_robots=False)
    visitor = Visitor(config, {}, HostQueue(config))
    for _ in range(2):
        with pytest.raises(PictureError) as caught:
            visitor.picture("http://rebind.test/x.jpg", time.monotonic() + 600)
        assert caught.value.error == "connection-refused"
    visitor.close()
    assert targets == [("8.8.8.8", 80)] * 2
    assert asked == ["rebind.test"]


def test_hosts_of_urls() -> None:
    assert host_of("HTTP://User:pw@Shop.Example:8080/a?b#c") == "shop.example:8080"
    for url in ("", "x.jpg", "//host/x", "ftp://host/x", "http:///x", "http://h:port/", "http://[::1", "data:,x"):
        with pytest.raises(PictureError, match="bad-url"):
            host_of(url)


@pytest.mark.parametrize(
    ("lines", "out"),
    [
        ((), False),
        (("noai",), True),
        (("NoImageAI, follow",), True),
        (("all", "noindex"), True),
        (("otherbot: noai",), False),
        (("otherbot: nofollow, noai",), False),
        (("decorec: noimageindex",), True),
        (("unavailable_after: 25 Jun 2030 15:00:00 PST",), False),
        (("max-snippet: 20",), False),
    ],
)
def test_opt_out_headers(lines: tuple[str, ...], out: bool) -> None:
    assert opted_out(lines, "decorec") is out


def needed(frontier: Frontier, outcomes: dict[str, Outcome], order: random.Random) -> list[str]:
    """Work ``frontier`` off in a random order of arrival; returns the addresses asked for."""
    waiting = list(frontier.start({}))
    asked = list(waiting)
    while waiting:
        address = waiting.pop(order.randrange(len(waiting)))
        more = list(frontier.record(address, outcomes[address]))
        asked += more
        waiting += more
    return asked


def test_frontier_does_not_depend_on_the_order_of_arrival() -> None:
    rng = random.Random(1)
    urls = [f"u{i}" for i in range(60)]
    outcomes = {url: rng.choice([OK, GONE, BUSY]) for url in urls}
    addresses = [[rng.choice(urls) for _ in range(rng.randrange(6))] for _ in range(200)]
    items = [f"i{i}" for i in range(200)]
    tables = []
    for seed in range(5):
        frontier = Frontier(items, addresses)
        asked = needed(frontier, outcomes, random.Random(seed))
        assert len(asked) == len(set(asked))
        assert frontier.settled == len(items)
        tables.append(frontier.table())
    assert all(table.equals(tables[0]) for table in tables)
    expected = []
    for item, row in zip(items, addresses, strict=True):
        for url in dict.fromkeys(row):
            expected.append((item, url))
            if outcomes[url].status == "ok":
                break
    assert list(zip(tables[0]["item"], tables[0]["url"], strict=True)) == expected


def test_queue_serves_other_hosts_while_one_is_paused() -> None:
    queue = HostQueue(CrawlConfig(rate=1e6, deadline=100))
    for host in ("slow", "quick"):
        for number in range(3):
            queue.put(Job(f"{host}{number}", host))
    queue.pause("slow", 90)
    assert [job.url for _ in range(3) if (job := queue.take())] == ["quick0", "quick1", "quick2"]


def test_queue_waits_for_the_end_of_a_pause() -> None:
    queue = HostQueue(CrawlConfig(rate=1e6, deadline=100))
    queue.put(Job("slow0", "slow"))
    start = time.monotonic()
    queue.pause("slow", 0.2)
    job = queue.take()
    assert job is not None and job.url == "slow0"
    assert time.monotonic() - start >= 0.2


def test_queue_limits_what_is_in_flight_and_prefers_due_retries() -> None:
    queue = HostQueue(CrawlConfig(rate=1e6, per_host=2))
    jobs = [Job(f"u{number}", "host") for number in range(4)]
    for job in jobs:
        queue.put(job)
    taken = [queue.take(), queue.take()]
    assert taken == jobs[:2]
    late: list[Job | None] = []
    thread = threading.Thread(target=lambda: late.append(queue.take()))
    thread.start()
    queue.put(jobs[0], delay=0.01)
    time.sleep(0.05)
    assert not late, "a third job while two are in flight"
    queue.release(jobs[0])
    thread.join()
    assert late == [jobs[0]], "the retry is due and goes before fresh jobs"
    queue.finish()
    assert queue.take() is None


def test_queue_gives_up_a_host_that_only_fails() -> None:
    queue = HostQueue(CrawlConfig())
    for _ in range(STRIKES - 1):
        queue.report("dead", transient=True)
    queue.report("dead", transient=False)
    for _ in range(STRIKES - 1):
        queue.report("dead", transient=True)
    assert not queue.is_closed("dead")
    queue.report("dead", transient=True)
    assert queue.is_closed("dead") and not queue.is_closed("alive")


def test_journal_survives_a_torn_line_and_forgets_what_the_settings_decided(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    config = CrawlConfig()
    large = Outcome("permanent", "too-large", 200, 1)
    with Journal(path, config) as journal:
        for address, outcome in {"a": OK, "b": GONE, "c": BUSY, "d": large, "größe": OK}.items():
            journal.append(address, outcome)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[0][:50])
    with Journal(path, config) as journal:
        assert journal.read("abcd") == {"a": OK, "b": GONE, "d": large}
        journal.append("e", GONE)
    with Journal(path, config) as journal:
        assert journal.read(["a", "e", "größe"]) == {"a": OK, "e": GONE, "größe": OK}
    with Journal(path, CrawlConfig(side=300)) as journal:
        assert journal.read("abcde") == {"b": GONE, "d": large, "e": GONE}
    with Journal(path, CrawlConfig(max_bytes=30_000_000)) as journal:
        assert journal.read("abcde") == {"a": OK, "b": GONE, "e": GONE}
        with pytest.raises(DecorecError, match="another one running"):
            Journal(path, config)


def test_journal_survives_a_cut_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    with Journal(path, CrawlConfig()) as journal:
        for address in "ab":
            journal.append(address, OK)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with Journal(path, CrawlConfig()) as journal:
            found = journal.read("abc")
            assert set(found) <= set("ab") and ("a" in found) == (cut >= first - 1)
            journal.append("c", GONE)
        lines = [line for line in path.read_bytes().splitlines() if line.startswith(b"{")]
        assert json.loads(lines[-1])["address"] == "c"


def test_damaged_lines_of_the_journal_cost_their_own_addresses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "set.jsonl"
    with Journal(path, CrawlConfig()) as journal:
        journal.append("a", OK)
        journal.append("b", GONE)
    entry = json.loads(path.read_bytes().splitlines()[0])
    wrong: list[Any] = [None, 1, [], {}, "a", {**entry, "address": ["a"]}, {**entry, "address": None}]
    wrong += [{key: value for key, value in entry.items() if key != gone} for gone in ("address", "side", "limits")]
    wrong += [{**entry, "outcome": value} for value in (None, [], list(entry["outcome"]), {}, "ok")]
    for name, values in {
        "status": (None, [], "transient"),
        "sha256": (None, 5, "../x"),
        "error": (5,),
        "width": ("9", 1.5, True),
    }.items():
        wrong += [{**entry, "outcome": {**entry["outcome"], name: value}} for value in values]
    lines = [json.dumps(line).encode() for line in wrong] + [b"\xff\xfe", b"[" * 100_000, b'{"address": NaN']
    path.write_bytes(b"\n".join(lines) + b"\n\n" + path.read_bytes())
    with caplog.at_level("INFO", logger="decorec"), Journal(path, CrawlConfig()) as journal:
        assert journal.read("ab") == {"a": OK, "b": GONE}
    assert f"set.jsonl: {len(lines)} lines are damaged" in caplog.text
    path.write_bytes(b"\n".join(lines) + b"\n")
    with Journal(path, CrawlConfig()) as journal:
        assert journal.read("ab") == {}


def test_a_journal_that_cannot_be_opened_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").mkdir()
    with pytest.raises(DecorecError, match=r"set\.jsonl: expected the journal of the crawl, .*move it away"):
        Journal(tmp_path / "set.jsonl", CrawlConfig())


def test_queue_hands_out_a_fresh_job_while_a_retry_waits() -> None:
    queue = HostQueue(CrawlConfig(rate=1e6))
    later, now = Job("later", "host"), Job("now", "host")
    queue.put(later, delay=30.0)
    queue.put(now)
    assert queue.take() is now


def test_closed_host_releases_what_was_paused() -> None:
    queue = HostQueue(CrawlConfig(deadline=100))
    queue.put(Job("a", "host"))
    queue.pause("host", 90.0)
    queue.pause("host", 1_000.0)
    job = queue.take()
    assert job is not None and job.url == "a" and queue.is_closed("host")


def rules(text: str, *urls: str) -> tuple[list[str], list[float]]:
    """What robots.txt ``text`` says about ``urls``, and the delays that it asks for."""
    delays: list[float] = []
    robots = Robots("decorec", lambda *_: text, lambda _, seconds: delays.append(seconds))
    errors = []
    for url in urls:
        try:
            robots.check(url, 0.0)
            errors.append("")
        except PictureError as failure:
            errors.append(failure.error)
    return errors, delays


def test_robots_rules() -> None:
    page = "http://shop.test/p/x.jpg"
    assert rules("", page) == ([""], [])
    assert rules("User-agent: *\nDisallow: /p/", page, "http://shop.test/q.jpg") == (["robots", ""], [])
    assert rules("User-agent: DecoRec\nAllow: /\n\nUser-agent: *\nDisallow: /", page) == ([""], [])
    assert rules("User-agent: *\nCrawl-delay: 5", page, page) == (["", ""], [5.0])
    assert rules("User-agent: *\nCrawl-delay: 3600", page) == (["robots"], [])
    for wild in ("²", "9" * 5_000, "-1", "x", "", "5/0", "nan", "inf"):
        text = f"User-agent: *\nCrawl-delay: {wild}\nRequest-rate: {wild}\nDisallow: /q"
        assert rules(text, page, "http://shop.test/q") == (["", "robots"], []), wild
    assert rules("\0\xff:::\nUser-agent\nDisallow\n" * 100, page) == ([""], [])
    for odd in (
        "http://sh%5Bop/x.jpg",
        "http://shop.test/%zz%ff",
        "http://shop.test//p//q?r#s",
        "HTTP://SHOP.test",
    ):
        assert rules("User-agent: *\nDisallow: /p", odd) == ([""], []), odd
    assert rules("User-agent: *\nDisallow: /p", "http://shop.test/\ud800%zz") == (["bad-url"], [])


@pytest.mark.parametrize(
    ("text", "forbidden"),
    [
        ("User-agent: *\nDisallow: /p\nAllow: /p/x", ["/p/y", "/p"]),  # the longest rule counts, not the first
        ("User-agent: *\nAllow: /p\nDisallow: /p/x", ["/p/x", "/p/x?a=1"]),
        ("User-agent: *\nDisallow: /p/x\nAllow: /p/x", []),  # of equal rules, the one that allows
        ("User-agent: *\nDisallow: /*?a=", ["/p/x?a=1"]),
        ("User-agent: *\nDisallow: /*.gif$", ["/g.gif"]),
        ("User-agent: *\nDisallow: /p$", ["/p"]),
        ("User-agent: decorec\n\nDisallow: /p", ["/p/x", "/p/y", "/p/x?a=1", "/p"]),  # a blank line ends no group
        (
            "User-agent: decorec\nDisallow: /g\n\nUser-agent: x\nDisallow: /\n\nUser-agent: decorec\nDisallow: /p$",
            ["/g.gif", "/p"],
        ),
        ("User-agent: decorec\nUser-agent: x\nDisallow: /g\nUser-agent: *\nDisallow: /", ["/g.gif"]),
        ("User-agent: *\nDisallow: /%70/%78", ["/p/x", "/p/x?a=1"]),
        ("\ufeffUser-agent: *\nDisallow: /g", ["/g.gif"]),
        ("User-agent: *\rDisallow: /g\rDisallow: /p$", ["/g.gif", "/p"]),
    ],
)
def test_robots_rules_are_those_of_rfc_9309(text: str, forbidden: list[str]) -> None:
    paths = ["/p/x", "/p/y", "/p/x?a=1", "/g.gif", "/p", "/h.gif.jpg"]
    errors, _ = rules(text, *(f"http://shop.test{path}" for path in paths))
    assert [path for path, error in zip(paths, errors, strict=True) if error] == [p for p in paths if p in forbidden]


def test_delay_of_part_of_a_second_is_kept() -> None:
    assert rules("User-agent: *\nCrawl-delay: 0.5", "http://shop.test/p")[1] == [0.5]
