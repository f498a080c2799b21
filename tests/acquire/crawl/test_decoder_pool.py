"""The processes that decode pictures survive what comes, and nothing survives the crawl."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from decorec.acquire.crawl.decoder_pool import DecoderPool
from decorec.acquire.crawl.outcome import Outcome

NO_HASH = "0" * 64


def dies_of_some(sha256: str, body: bytes) -> Outcome:
    """Work that no picture library should do, but that hostile files make them do."""
    if body == b"crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if body == b"defect":
        raise ZeroDivisionError
    return Outcome("ok", width=len(body), height=os.getpid())


def test_a_file_that_kills_its_process_is_unreadable_and_the_rest_goes_on() -> None:
    bodies = [b"x" * size for size in range(1, 40)]
    bodies[7:7] = [b"crash"]
    with closing(DecoderPool(dies_of_some, 2)) as decoders, ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda body: decoders.submit(NO_HASH, body).result(), bodies))
        with pytest.raises(ZeroDivisionError) as caught:
            decoders.submit(NO_HASH, b"defect").result()
        assert "dies_of_some" in caught.value.__notes__[0]
        assert decoders.submit(NO_HASH, b"after").result().width == 5
    assert outcomes.pop(7) == Outcome("permanent", "unreadable", sha256=NO_HASH, bytes=5)
    assert [outcome.width for outcome in outcomes] == list(range(1, 40))
    processes = {outcome.height for outcome in outcomes}
    assert os.getpid() not in processes
    assert len(processes) <= 4  # two, and two that took the places of the dead


def test_processes_end_with_the_one_that_started_them() -> None:
    code = """
import os, time
from decorec.acquire.crawl.decoder_pool import DecoderPool
from tests.acquire.crawl.test_decoder_pool import NO_HASH, dies_of_some
decoders = DecoderPool(dies_of_some, 1)
print(decoders.submit(NO_HASH, b"alive").result().height, flush=True)
time.sleep(60)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        decoder = int(process.stdout.readline())
        os.kill(decoder, 0)
        process.kill()
    end = time.monotonic() + 30
    while _runs(decoder) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _runs(decoder)


def test_a_process_that_cannot_start_is_an_error_and_not_a_bad_picture(tmp_path: Path) -> None:
    script = tmp_path / "script.py"  # without a guard: the new process runs it again from the start
    script.write_text(
        "from decorec.acquire.crawl.decoder_pool import DecoderPool\n"
        "from tests.acquire.crawl.test_decoder_pool import dies_of_some\n"
        "DecoderPool(dies_of_some, 1).submit('', b'').result()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode
    assert "expected a process that decodes pictures to start" in done.stderr


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
