"""Fetching over TLS: the certificate is checked against the name of the URL, and the deadline holds in handshakes."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from decorec.acquire.crawl.host_queue import HostQueue
from decorec.acquire.crawl.outcome import PictureError
from decorec.acquire.crawl.visit import Visitor
from decorec.acquire.http_session import HostMap
from decorec.config.acquire import CrawlConfig
from tests.support.hostile import Hostile, picture

OPENSSL = shutil.which("openssl")


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh key and self-signed certificate for shop.test and localhost in one file, trusted by requests."""
    if OPENSSL is None:
        pytest.skip("needs the command openssl to make a certificate")
    key, path = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(path), "-days", "2", "-subj", "/CN=shop.test"]
    command += ["-addext", "subjectAltName=DNS:shop.test,DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_text(key.read_text() + path.read_text())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    return both


def outcome(url: str, connect_to: HostMap, deadline: float = 600.0) -> bytes | str:
    """The body behind ``url`` or the class of its failure."""
    config = CrawlConfig(private_hosts=True, respect_robots=False)
    visitor = Visitor(config, connect_to, HostQueue(config))
    try:
        return visitor.picture(url, time.monotonic() + deadline).body
    except PictureError as failure:
        return failure.error
    finally:
        visitor.close()


def test_certificate_must_fit_the_name_of_the_url(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hostile() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.encrypt(context)
        mapped = dict.fromkeys(("shop.test", "other.test"), ("127.0.0.1", server.port))
        assert outcome("https://shop.test/ok/3.jpg", mapped) == picture(3)
        assert outcome(f"https://localhost:{server.port}/ok/4.jpg", {}) == picture(4)
        assert outcome("https://other.test/ok/3.jpg", mapped) == "tls"
        assert outcome(f"https://127.0.0.1:{server.port}/ok/3.jpg", {}) == "tls"
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        assert outcome("https://shop.test/ok/3.jpg", mapped) == "tls"


def test_server_that_does_not_speak_tls() -> None:
    with Hostile() as server:
        assert outcome(f"https://127.0.0.1:{server.port}/ok/1.jpg", {}) == "tls"


def test_dripping_handshake_ends_at_the_deadline() -> None:
    done, whole = threading.Event(), threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            # The head of a handshake record of 16 kB, whose content then comes byte by byte.
            connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
            for _ in range(0x3FFC):
                if done.wait(0.02):
                    return
                try:
                    connection.sendall(b"\0")
                except OSError:
                    return
            whole.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        assert outcome(f"https://127.0.0.1:{port}/x.jpg", {}, deadline=0.5) == "deadline"
        assert not whole.is_set()
        done.set()
        thread.join()
