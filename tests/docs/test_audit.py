"""The audit of `make lint`: a known hole fails, a data base that cannot be asked does not."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.audit import LOCK, audit

needs_pip_audit = pytest.mark.skipif(
    importlib.util.find_spec("pip_audit") is None, reason="pip-audit is not installed: make setup"
)
HOLE = {
    "id": "PYSEC-0",
    "affected": [
        {
            "package": {"name": "leaky", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


@contextmanager
def database(holes: dict[str, object], broken: str = "") -> Iterator[str]:
    """The address of a data base with ``holes`` by package, which fails for the package ``broken``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            body = json.dumps({"vulns": [holes[name]]} if name in holes else {}).encode()
            self.send_response(503 if name == broken else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text("".join(f"{name}==1.0 \\\n    --hash=sha256:{'0' * 64}\n" for name in ("leaky", "sound")))
    return path


@needs_pip_audit
def test_a_known_hole_fails_and_is_named(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with database({"leaky": HOLE}) as address:
        assert audit(lock, address) == 1
    assert "2 packages, 1 known holes\n  leaky 1.0: PYSEC-0, mended in: 1.1\n" in capsys.readouterr().out


@needs_pip_audit
def test_a_data_base_that_fails_in_between_is_told(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with database({}, broken="sound") as address:
        assert audit(lock, address) == 0
    assert "audit: skipped, " in capsys.readouterr().out


def test_without_the_data_base_the_audit_is_skipped(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with database({}) as address:
        pass
    assert audit(lock, address) == 0
    shown = capsys.readouterr().out
    assert f"audit: skipped, {address} cannot be asked: ConnectionError" in shown


def test_the_lock_file_has_the_program_of_the_audit() -> None:
    assert "\npip-audit==" in LOCK.read_text(encoding="utf-8")
