"""A training on several nodes has the bytes of one in as many processes of one machine, and ends as that one does.

Both nodes are this machine: in place of srun stands a program that starts the launcher here.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from decorec.artifacts import resume, step_log
from decorec.artifacts.files import read_arrays
from decorec.artifacts.step_log import Used
from decorec.errors import DecorecError
from decorec.training import allocation, nodes
from decorec.training.nodes import over_nodes
from decorec.training.ranks import LostError, SharedRanks, here
from decorec.training.steps import train
from tests.support.stopped import when_logged
from tests.training.test_resume import arguments, contents, places, run_of

SRUN = """#!/bin/sh
for given in "$@"; do
    case $given in
        --relative=*) node=${given#*=}; shift ;;
        --*) shift ;;
        *) break ;;
    esac
done
echo a line that a cluster prints before each program
SLURMD_NODENAME=n$node SLURM_LAUNCH_NODE_IPADDR=127.0.0.1 exec "$@"
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is in a job of SLURM."""
    program = tmp_path / "programs" / "srun"
    program.parent.mkdir()
    program.write_text(SRUN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "1")


def disturbed(*, text: str, number: int, process: int, threads: int, **given: Any) -> None:
    """The step train, in which the second rank sends a signal: to itself, or to ``process`` and all that it started."""
    resume.SECONDS, resume.SHARE = 0.0, float("inf")

    def send() -> None:
        for one in (process, *step_log.descendants(process)) if process else (os.getpid(),):
            os.kill(one, number)

    with when_logged(text if here().number == 1 else "never", send):
        train(**given, threads=threads)


def test_a_killed_rank_ends_the_job_and_the_next_one_has_the_bytes_of_one_machine(
    tmp_path: Path, job: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of("decorec", {"train.devices": 2, "train.averaging": 0.9})
    given = arguments(tmp_path, run, "stage1") | {"threads": 2}
    train(**given, **places(tmp_path / "one machine"))
    stopped = given | places(tmp_path / "stopped") | {"threads": 1}
    step_log.begun("train").start -= 1_000
    kill = {"text": ": epoch 0,", "number": signal.SIGKILL, "process": 0}
    told = r"train\.devices: expected 2 .* found rank 1 \(process \d+ on node n1\) killed by SIGKILL"
    with pytest.raises(DecorecError, match=told) as raised:
        over_nodes(disturbed, 2, 1, stopped | kill)
    assert "in node 2 of 2 (n1):" in str(raised.value.__cause__)
    assert [path.name for path in (tmp_path / "stopped").iterdir()] == ["state.safetensors"]
    with pytest.raises(SystemExit) as end:
        over_nodes(disturbed, 2, 1, stopped | {"text": ": epoch 1,", "number": signal.SIGTERM, "process": os.getpid()})
    assert end.value.code == 143
    kept = json.loads(read_arrays(stopped["state"])[1]["facts"])["used"]
    entry = step_log.begun("train")
    counted: list[tuple[float, float]] = []
    monkeypatch.setattr(step_log, "count_ended", lambda *given: counted.append(given))
    over_nodes(train, 2, 1, stopped)
    ((memory, processor_seconds),) = counted
    assert memory > 2 * 100 and processor_seconds > 2 * 0.1, "each node imports torch"
    assert entry.earlier == Used(**kept) and 1_000 < entry.earlier.seconds < 10_000, "launchers have other clocks"
    assert contents(tmp_path / "stopped") == contents(tmp_path / "one machine")


def exchanging(*, what: str, threads: int) -> None:
    """The second rank ends in some way while the first waits for it."""
    print("what a step prints goes to the log")
    ranks = here()
    assert isinstance(ranks, SharedRanks) and ranks.place == 0
    if ranks.number == 0:
        ranks.agreed(0)
        ranks.total(1.0)
        ranks.total(1.0)
    if what == "launcher":
        launcher = multiprocessing.parent_process()
        assert launcher is not None and launcher.pid is not None
        os.kill(launcher.pid, signal.SIGKILL)
    raise LostError("no answer")


ENDS = {
    "launcher": r"^train\.nodes: expected an answer of node 2 of 2 \(n1\) with ranks 1, found that its srun has ended",
    "network": r"expected 2 nodes that train together, found that node \d of 2 \(n\d\) has lost the connection to the",
}


@pytest.mark.parametrize("what", ENDS)
def test_one_sentence_says_how_the_job_ended(what: str, job: None) -> None:
    with pytest.raises(DecorecError, match=ENDS[what]):
        over_nodes(exchanging, 2, 1, {"what": what, "threads": 1})


def test_a_launcher_that_cannot_start_is_a_lost_node(job: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "COMMAND", ["false"])
    with pytest.raises(DecorecError, match=r"of node 1 of 2 with ranks 0, 1, 2, found that its srun has ended"):
        over_nodes(exchanging, 2, 3, {"what": "launcher", "threads": 3})


def test_several_nodes_are_refused_outside_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    given = arguments(tmp_path, run_of("sasrec", {"train.nodes": 2}), "fit") | places(tmp_path)
    with pytest.raises(DecorecError, match=r"^train\.nodes: expected a job of SLURM for .* 2 nodes, found no job"):
        train(**given)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DecorecError, match=r"^train\.nodes: expected a job of SLURM for .* 2 nodes, found no program"):
        train(**given)


def test_srun_is_told_of_the_job_and_of_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options come as variables as well, and those of the whole job do not fit one node."""
    for name in ("SLURM_JOB_ID", "SLURM_CONF", "SLURM_NTASKS", "SRUN_CPUS_PER_TASK", "DECOREC_GPUS", "OTHER"):
        monkeypatch.setenv(name, "1")
    told = {name for name in allocation.environment() if name.startswith(("S", "DECOREC", "OTHER"))}
    assert told >= {"SLURM_JOB_ID", "SLURM_CONF", "OTHER"}
    assert not told & {"SLURM_NTASKS", "SRUN_CPUS_PER_TASK", "DECOREC_GPUS"}
    for gpus, option in (("0,1", "--gpus-per-node=4"), ("", "--gres=none")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        srun = allocation.on_node(3, 4, ["program"])
        assert srun[0] == "srun" and srun[-1] == "program" and {"--relative=3", "--overlap", option} <= set(srun)


def test_the_interface_is_the_one_that_reaches_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allocation.interface_to("127.0.0.1") == "lo"
    with pytest.raises(DecorecError, match=r"reaches 127\.0\.0\.1\.9, found none; .* GLOO_SOCKET_IFNAME"):
        allocation.interface_to("127.0.0.1.9")


def test_messages_pass_among_other_lines(capfd: pytest.CaptureFixture[str]) -> None:
    sent = io.BytesIO()
    lines = nodes._Lines(io.BufferedReader(sent), sent)  # type: ignore[arg-type]
    value = {"text": "x" * 10_000, "number": 1}
    sent.write(b"hello\n")
    lines.send(value)
    sent.write(b"~\x00")
    assert max(map(len, sent.getvalue().splitlines())) <= 80, "srun cuts lines of a thousand letters"
    sent.seek(0)
    assert lines.recv() == value
    assert capfd.readouterr().err == "hello\n"
    with pytest.raises(EOFError):
        lines.recv()
    lines.close()
    with pytest.raises(OSError):  # as of any other channel
        lines.send(value)


def test_the_server_listens_on_one_address() -> None:
    server = nodes._server("127.0.0.1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=10)
