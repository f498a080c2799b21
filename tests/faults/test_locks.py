"""Snakemake's lock: a dead run's is released, with the jobs that it left, and a living run is named and left alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from decorec.plan.running import Run
from tests.support.loopback import Loopback, zipped
from tests.support.workplace import TINY, Workplace

pytestmark = pytest.mark.workflow
CATEGORY = "Prime_Pantry"
FILES = {f"/categoryFiles/{CATEGORY}.json.gz": zipped(500_000), f"/metaFiles2/meta_{CATEGORY}.json.gz": zipped(50_000)}
TARGET = "results/shop/raw/reviews.jsonl.gz"


def started_by(run: str) -> list[int]:
    """Jobs of a run, by the variable that they inherit."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"DECOREC_RUN={run}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_the_same_command_goes_on_after_a_kill_and_is_refused_while_the_other_runs(tmp_path: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hold(served: int) -> None:
        """The server stops in the middle, so that the job is alive for as long as this test needs it."""
        reached.set()
        go_on.wait()

    with Loopback(FILES) as server:
        server.watch = hold
        dataset = {"source": "amazon2018", "category": CATEGORY, "base_url": server.url}
        workplace = Workplace(tmp_path / "shop", TINY | {"datasets": {"shop": dataset}})
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--workflow-profile", "none", TARGET]
        with subprocess.Popen(command, cwd=workplace.folder, stderr=subprocess.DEVNULL) as first:
            try:
                while not reached.wait(0.05):
                    assert first.poll() is None
                (record,) = (workplace.folder / ".snakemake" / "runs").glob("*.json")
                run = json.loads(record.read_text())
                assert (run["pid"], run["host"]) == (first.pid, socket.gethostname())
                assert workplace.planned(TARGET), "a dry run is no run"
                refused = workplace.snakemake(TARGET)
                assert refused.returncode == 1
                (line,) = [line for line in refused.stderr.splitlines() if "locked" in line]
                assert f"locked by process {first.pid} on {run['host']} (snakemake --cores 2 " in line
                assert line.endswith("wait until it has finished, or end it")
                jobs = started_by(run["id"])
                assert jobs, "the refused one has not touched them"
            finally:
                first.send_signal(signal.SIGKILL)
        assert started_by(run["id"]), "a job does not end with its run"
        go_on.set()
        server.watch = lambda served: None
        again = workplace.snakemake("--rerun-incomplete", TARGET)
    assert again.returncode == 0, again.stderr
    assert f"Killed before it had finished: process {first.pid} on" in again.stderr
    assert (workplace.folder / TARGET).read_bytes() == FILES[f"/categoryFiles/{CATEGORY}.json.gz"]
    assert not started_by(run["id"])
    assert not list((workplace.folder / ".snakemake" / "runs").glob("*.json"))


def test_sigterm_while_jobs_are_selected_ends_the_run(tmp_path: Path) -> None:
    """Its handler waits for a lock that the interrupted thread may hold."""
    workplace = Workplace(tmp_path / "shop", TINY)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--workflow-profile", "none"]
    command += ["results/sample/raw/reviews.jsonl.gz"]
    with subprocess.Popen(command, cwd=workplace.folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert any(line.startswith("Select jobs to execute") for line in process.stderr)
            for _ in range(300):  # so that some meet the lock
                process.send_signal(signal.SIGTERM)
                time.sleep(0.001)
            told = process.stderr.read()
        finally:
            process.kill()
    assert "Will exit after finishing currently running jobs" in told
    assert process.returncode == 1


def enter(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from pathlib import Path; from decorec.plan.running import enter; print(enter(Path('.')))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def left(folder: Path, run: Run) -> Path:
    """The lock and the record of ``run``, which is dead, as nobody holds its record."""
    (folder / "locks").mkdir(exist_ok=True)
    (folder / "locks" / "0.output.lock").write_text("results/x\n")
    (folder / "runs").mkdir(exist_ok=True)
    record = folder / "runs" / f"{run.id}.json"
    record.write_text(json.dumps(asdict(run)))
    return record


def test_whose_lock_is_released(tmp_path: Path) -> None:
    this = Run.this()
    lock = tmp_path / "locks" / "0.output.lock"
    for dead in (
        this,  # its pid is that of a living process: it has been given out again
        replace(this, boot="before the power went"),
        replace(this, host="another container of this machine"),
    ):
        record = left(tmp_path, dead)
        done = enter(tmp_path)
        assert done.stdout == "None\n", done.stderr
        assert f"Killed before it had finished: {dead}. Its lock is released" in done.stderr
        assert not lock.exists() and not record.exists()

    far = replace(this, boot="another", host="node7")
    record = left(tmp_path, far)
    told = enter(tmp_path).stdout
    assert f"locked by {far}, and from {this.host} nobody can tell whether it still runs" in told
    assert "snakemake --unlock" in told and told.count("\n") == 1
    assert lock.exists() and record.exists()
    lock.unlink()  # as it is after --unlock, and after a run that ended by itself
    assert enter(tmp_path).stdout == "None\n" and not record.exists()


def test_a_lock_without_a_record_is_left_to_snakemake(tmp_path: Path) -> None:
    left(tmp_path, Run.this()).write_text('{"id": ')
    done = enter(tmp_path)
    assert (done.stdout, done.stderr) == ("None\n", "")
    assert (tmp_path / "locks" / "0.output.lock").exists()
