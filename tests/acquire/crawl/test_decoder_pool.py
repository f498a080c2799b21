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
from decorec.acquire.crawl.outcome import Outcome, Status

NO_HASH = "0" * 64
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
DEADLY = {b"crash": signal.SIGSEGV, b"abort": signal.SIGABRT, b"killed": signal.SIGKILL, b"ended": signal.SIGTERM}


def dies_of_some(sha256: str, body: bytes) -> Outcome:
    """Work that no picture library should do, but that hostile files make them do."""
    if body in DEADLY:
        os.kill(os.getpid(), DEADLY[body])
    if body == b"leave":
        os._exit(3)
    if body.startswith(b"once "):  # as a system without memory kills it: the picture is not to blame
        marker = Path(body[5:].decode())
        if not marker.exists():
            marker.touch()
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


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"abort", ("permanent", "unreadable")),
        (b"leave", ("permanent", "unreadable")),
        (b"killed", ("transient", "decoder-killed")),
        (b"ended", ("transient", "decoder-killed")),
    ],
)
def test_what_ends_a_process_decides_whether_its_picture_is_to_blame(body: bytes, outcome: tuple[Status, str]) -> None:
    with closing(DecoderPool(dies_of_some, 1)) as decoders:
        futures = [decoders.submit(NO_HASH, part) for part in (b"before", body, b"behind")]
        assert [future.result().width for future in (futures[0], futures[2])] == [6, 6]
        assert futures[1].result() == Outcome(*outcome, sha256=NO_HASH, bytes=len(body))


def test_a_picture_whose_process_was_killed_once_is_not_lost(tmp_path: Path) -> None:
    bodies = [f"once {tmp_path / str(number)}".encode() for number in range(4)]
    with closing(DecoderPool(dies_of_some, 2)) as decoders:
        futures = [decoders.submit(NO_HASH, body) for body in bodies]
        assert [future.result().status for future in futures] == ["ok"] * 4


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, start_new_session=True)


def test_ctrl_c_does_not_reach_the_decoders() -> None:
    done = run_script(
        """
import os, signal, time
from decorec.acquire.crawl.decoder_pool import DecoderPool
from tests.acquire.crawl.test_decoder_pool import NO_HASH, dies_of_some
signal.signal(signal.SIGINT, lambda *_: None)  # the crawl's own process; all others get it as a terminal sends it
decoders = DecoderPool(dies_of_some, 2)
for _ in range(4):  # the first time, the server process is still importing
    futures = [decoders.submit(NO_HASH, b"x" * 9) for _ in range(20)]
    while not all(future.done() for future in futures):
        os.killpg(0, signal.SIGINT)
        time.sleep(0.02)
    assert all(future.result().width == 9 for future in futures)
decoders.close()
print("done")
"""
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "KeyboardInterrupt" not in done.stderr


def test_without_the_server_process_no_picture_is_called_unreadable() -> None:
    done = run_script(
        """
import os, signal
from multiprocessing import forkserver
from decorec.acquire.crawl.decoder_pool import DecoderPool
from decorec.errors import DecorecError
from tests.acquire.crawl.test_decoder_pool import NO_HASH, dies_of_some
decoders = DecoderPool(dies_of_some, 2)
decoder = decoders.submit(NO_HASH, b"first").result().height
os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
os.kill(decoder, signal.SIGKILL)
for future in [decoders.submit(NO_HASH, b"good") for _ in range(40)]:
    try:
        assert future.result().status in ("ok", "transient"), future.result()
    except DecorecError as error:
        assert "found that it ended" in str(error)
decoders.close()
print("done")
"""
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_processes_end_with_the_one_that_started_them() -> None:
    code = """
import os, signal
from decorec.acquire.crawl.decoder_pool import DecoderPool
from tests.acquire.crawl.test_decoder_pool import NO_HASH, dies_of_some
decoders = DecoderPool(dies_of_some, 1)
print(decoders.submit(NO_HASH, b"alive").result().height, flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            assert process.stdout is not None
            decoder = int(process.stdout.readline())
            os.kill(decoder, 0)
        finally:
            process.kill()
    while _runs(decoder):  # pytest's own limit ends it if it never does
        time.sleep(0.05)


def test_a_process_that_cannot_start_is_an_error_and_not_a_bad_picture(tmp_path: Path) -> None:
    script = tmp_path / "script.py"  # without a guard: the new process runs it again from the start
    script.write_text(
        "from decorec.acquire.crawl.decoder_pool import DecoderPool\n"
        "from tests.acquire.crawl.test_decoder_pool import dies_of_some\n"
        "DecoderPool(dies_of_some, 1).submit('', b'').result()\n"
    )
    done = subprocess.run([sys.executable, script], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode
    assert "expected a process that decodes pictures to start" in done.stderr


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
