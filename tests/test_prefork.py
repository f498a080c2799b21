"""A step that is handed over to a fork of the server is the same step: its bytes, its signals, its end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from decorec import prefork
from decorec.artifacts.step_log import descendants
from tests.training.test_resume import arguments, contents, places, run_of

FOREVER = {"train.epochs": 100_000, "train.patience": 100_000}


def command(given: Mapping[str, Any]) -> list[str]:
    """The command line of a training."""
    words = [sys.executable, "-X", "importtime", "-m", "decorec", "train", "--threads", "1"]
    for name, value in given.items():
        values = value if isinstance(value, list) else [json.dumps(value.dump()) if name == "run" else value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


@contextmanager
def started(given: Mapping[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A training that is in its second epoch; it is killed if it still runs at the end."""
    with subprocess.Popen(command(given), stderr=subprocess.PIPE, text=True) as job:
        try:
            assert job.stderr is not None
            said = ""
            while ": epoch 1," not in said:
                line = job.stderr.readline()
                assert line, said
                said += line
            yield job
        finally:
            job.kill()


def forks(server: prefork.Prefork) -> set[int]:
    return set(descendants(server.process.pid))


def gone(server: prefork.Prefork) -> None:
    """Wait until no fork is left."""
    while forks(server):
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[prefork.Prefork]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("folder"))
        with pytest.MonkeyPatch.context() as telling:  # forks tell what they import, as with -X importtime
            telling.setenv("PYTHONPROFILEIMPORTTIME", "1")
            server = prefork.Prefork(Path())
        yield server
        server.close()
        assert not list(Path().iterdir()), "the socket is removed"


def test_a_fork_gives_the_bytes_of_a_process_of_its_own(server: prefork.Prefork, tmp_path: Path) -> None:
    given = arguments(tmp_path, run_of("sasrec", {}), "fit")
    said = {}
    for name in ("forked", "alone"):
        environment = {**os.environ, **({prefork.VARIABLE: ""} if name == "alone" else {})}
        line = command(given | places(tmp_path / name))
        result = subprocess.run(line, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        said[name] = result.stderr.splitlines()
    assert contents(tmp_path / "forked") == contents(tmp_path / "alone")
    imported = {name: any(re.search(r"\| +torch\b", line) for line in lines) for name, lines in said.items()}
    assert imported == {"forked": False, "alone": True}, "the step is handed over to what has imported all"
    told = {name: [line.split(": ", 1)[-1] for line in lines if " decorec: " in line] for name, lines in said.items()}
    assert told["forked"][:-1] == told["alone"][:-1], "all but the seconds at the end"


def test_a_step_that_fails_says_so_as_it_does_alone(server: prefork.Prefork, tmp_path: Path) -> None:
    given = arguments(tmp_path, run_of("sasrec", {}), "fit") | places(tmp_path / "out")
    given["sequences"].unlink()
    failed = subprocess.run(command(given), capture_output=True, text=True)
    assert failed.returncode == 1 and "| torch\n" not in failed.stderr
    assert f"decorec train: {given['sequences']}: expected" in failed.stderr and "Traceback" not in failed.stderr
    wrong = subprocess.run([*command(given), "--nothing"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "unrecognized arguments: --nothing" in wrong.stderr


def test_a_job_and_its_fork_end_together(server: prefork.Prefork, tmp_path: Path) -> None:
    given = arguments(tmp_path, run_of("sasrec", FOREVER), "fit")
    with started(given | places(tmp_path / "ended")) as job:
        job.terminate()
        assert job.wait() == 128 + signal.SIGTERM
        assert (tmp_path / "ended/state.safetensors").is_file(), "the state is kept"
    gone(server)
    with started(given | places(tmp_path / "killed")) as job:
        job.kill()
    gone(server)
    with started(given | places(tmp_path / "alone")) as job:
        (fork,) = forks(server)
        os.kill(fork, signal.SIGKILL)
        assert job.wait() == 128 + signal.SIGKILL


def test_without_a_server_a_job_runs_its_step_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: prefork.Prefork
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(prefork.VARIABLE, "")
    own = prefork.Prefork(Path(), modules=())
    given = arguments(tmp_path, run_of("sasrec", {}), "fit") | places(tmp_path / "out")
    for name, value in (("OMP_NUM_THREADS", "2"), ("MKL_CBWR", "COMPATIBLE")):
        with monkeypatch.context() as other:  # libraries would have found something else when they were imported
            other.setenv(name, value)
            assert prefork.hand_over(command(given)[5:]) is None
    own.process.kill()
    own.process.wait()
    result = subprocess.run(command(given), capture_output=True, text=True)
    assert result.returncode == 0 and "| torch\n" in result.stderr
    for words in (["evaluate", "--threads", "2"], ["ingest", "--threads", "1"], ["nothing"], []):
        assert prefork.hand_over(words) is None


def test_a_server_whose_starter_has_ended_ends_after_its_last_fork(tmp_path: Path) -> None:
    given = arguments(tmp_path, run_of("sasrec", {"train.epochs": 3}), "fit") | places(tmp_path / "out")
    code = (
        "import subprocess, sys; from pathlib import Path; from decorec.prefork import Prefork\n"
        "server = Prefork(Path('.'), ['torch'])\n"
        "subprocess.Popen(sys.argv[1:]); print(server.process.pid, flush=True)"
    )
    # Both hold the pipe: its end says that server and job have ended.
    result = subprocess.run([sys.executable, "-c", code, *command(given)], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0 and (tmp_path / "out/model.safetensors").is_file(), result.stderr
    assert "| torch\n" not in result.stderr and not list(tmp_path.glob("prefork.*"))
