"""A server while it runs: connections, a new model without a lost request, and its end."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decorec import load
from decorec.recommend.new_items import with_new_items, write_added
from decorec.serve.catalogue import Tables
from decorec.serve.meters import Meters
from decorec.serve.reload import Reloader, load_warm, state_of
from decorec.serve.server import listening
from decorec.serve.worker import Worker
from tests.support import small
from tests.support.service import ITEMS, Service, listed, serving, shown, train

RUN = "results/shop/runs/decorec/seed-0"


def test_answers_do_not_wait_for_a_confirmation() -> None:
    """Of what was sent before: Nagle's algorithm would hold each body back for 40 ms."""
    with listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_new_model_takes_over_without_a_lost_request(service: Service, folder: Path) -> None:
    """At a signal and after changed files; files that cannot be read change nothing. Then the server ends cleanly."""
    lists: dict[int, Any] = {}
    for seed in (0, 1, 2):
        train(folder.parents[4] / str(seed) / RUN, seed)
        lists[seed] = listed(load(folder.parents[4] / str(seed) / RUN).recommend([ITEMS[5]]))
    assert len(set(map(str, lists.values()))) == 3
    answers: list[Any] = []
    stopped = threading.Event()

    def ask() -> None:
        client = Client(service)
        while not stopped.is_set():
            answers.append(client.recommend())

    def until(seed: int) -> None:
        while shown(service.recommend([ITEMS[5]])) != lists[seed]:
            time.sleep(0.01)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    service.process.send_signal(signal.SIGHUP)
    while service.counted("decorec_reloads_total") < 1:  # although no file has changed
        time.sleep(0.01)
    until(0)
    train(folder, 1)
    until(1)
    train(folder, 2)
    until(2)
    weights = folder / "stage2" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    while service.get("/health").json()["reload_error"] is None:
        time.sleep(0.01)
    assert str(weights) in service.get("/health").json()["reload_error"]
    until(2)
    weights.write_bytes(content)
    while service.get("/health").json()["reload_error"] is not None:
        time.sleep(0.01)
    stopped.set()
    for client in clients:
        client.join()
    assert {status for status, _ in answers} == {200}
    assert {str(found) for _, found in answers} <= set(map(str, lists.values()))
    own = load(folder).checkpoint
    features = np.random.default_rng(0).normal(size=(len(ITEMS) + 1, 8)).astype(np.float32)
    write_added(with_new_items(own, ["new"], [features], small.sequences()), folder / "stage2")
    while service.get("/health").json()["items"] == len(ITEMS):  # items that are added are a new model as well
        time.sleep(0.01)
    assert "new" in [each["item"] for each in service.recommend([ITEMS[5]], k=len(ITEMS))]
    assert service.end() == 0
    assert not any("Traceback" in line for line in service.lines)


def test_no_request_is_dropped_when_the_server_ends(folder: Path) -> None:
    """Clients that keep their connection, clients that open one for each request, and one that never asks."""
    body, begun = json.dumps({"history": [ITEMS[5]]}), threading.Barrier(9)

    with serving(folder, "--linger", "60") as service:
        host, port = service.address.removeprefix("http://").split(":")
        expected = shown(service.recommend([ITEMS[5]]))

        def client(kept: bool) -> int:
            """Ask until the server refuses; the number of answers."""
            try:
                return ask_until_refused(HTTPConnection(host, int(port)), kept)
            except BaseException:
                begun.abort()  # nobody is to wait for this client
                raise

        def ask_until_refused(connection: HTTPConnection, kept: bool) -> int:
            answers = 0
            while True:
                try:
                    if connection.sock is None:
                        connection.connect()
                except ConnectionRefusedError:
                    return answers
                new = answers == 0 or not kept
                try:
                    connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
                    answer = connection.getresponse()
                except ConnectionError:  # between the last look at who waits and the end of the listener
                    assert new, "a connection that the server had answered on"
                    return answers
                found = json.loads(answer.read())["items"]  # or IncompleteRead
                assert shown(found) == expected
                answers += 1
                if answers == 3:
                    begun.wait()
                if not kept:
                    connection.close()

        with ThreadPoolExecutor(8) as pool, socket.create_connection((host, int(port))) as silent:
            clients = [pool.submit(client, kept) for kept in [True, False] * 4]
            with suppress(threading.BrokenBarrierError):  # then a client has failed, and tells below
                begun.wait()
            service.process.send_signal(signal.SIGTERM)
            assert [failure for each in clients if (failure := each.exception())] == []
            assert all(each.result() >= 3 for each in clients)
            silent.close()
        assert service.end() == 0
        assert not any("Traceback" in line for line in service.lines)


class Client:
    """One of several clients, with a connection of its own."""

    def __init__(self, service: Service) -> None:
        import requests

        self._session, self._address = requests.Session(), service.address
        self._session.trust_env = False

    def recommend(self) -> tuple[int, Any]:
        answer = self._session.post(f"{self._address}/recommend", json={"history": [ITEMS[5]]})
        return answer.status_code, shown(answer.json()["items"])


def test_who_asks_for_a_new_model_at_the_end_of_a_look_is_heard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes when the wait for it has just ended without it."""
    loaded, meters, loads = load_warm(folder), Meters(), list[str]()
    reloader = Reloader(folder, Tables(), Worker(loaded, meters), meters, 0.001, state_of(folder))
    waits: list[bool] = []

    def wait(seconds: float) -> bool:
        waits.append(threading.Event.wait(asked, seconds))
        if len(waits) == 1:
            reloader.ask()
        reloader._ended = len(waits) == 3
        return waits[-1]

    asked = reloader._asked
    monkeypatch.setattr(asked, "wait", wait)
    monkeypatch.setattr(reloader, "_load", lambda: loads.append("loaded"))
    reloader._watch()
    assert waits == [False, True, False] and loads == ["loaded"]
