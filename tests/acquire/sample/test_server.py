"""The server of the sample shop, and that of the tests: what they say of clients that break off."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from decorec.acquire.sample.server import shop_server
from tests.support.loopback import Loopback


@pytest.mark.parametrize("own", [True, False])
def test_a_client_that_breaks_off_is_no_error(own: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(shop_server(tmp_path)) if own else stack.enter_context(Loopback({})).port
        before = set(threading.enumerate())
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /")
            while not (answering := {thread for thread in threading.enumerate() if thread.is_alive()} - before):
                pass
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
        for thread in answering:
            thread.join()
    assert capfd.readouterr() == ("", "")
