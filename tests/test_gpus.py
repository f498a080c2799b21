"""Jobs share the GPUs of a machine: one slot each, whatever becomes of them."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from decorec import gpus
from decorec.errors import DecorecError
from tests.support.workplace import TINY, Workplace

LISTED = """\
GPU 0: NVIDIA H200 (UUID: GPU-aaaaaaaa-1111-2222-3333-444444444444)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbbbbbb-1111-2222-3333-444444444444)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccccccc-1111-2222-3333-444444444444)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddddddd-1111-2222-3333-444444444444)
"""
JOB = """
import os, sys
from decorec import gpus
assert gpus.device("cpu").type == "cpu" and gpus.OFFERED in os.environ, "no slot without a need"
gpus.device()
print(os.environ[gpus.VISIBLE], flush=True)
assert gpus.OFFERED not in os.environ
sys.stdin.read()
"""

HOLDING = """
import os, sys
from decorec import gpus
gpus.take({})
print(os.environ[gpus.VISIBLE], flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def nothing_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpus.VISIBLE, raising=False)


def machine(folder: Path, listed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose nvidia-smi lists these GPUs."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] && cat <<'END'\n{listed}END\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def job(text: str = JOB) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def gpu_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_gpus_are_those_that_the_system_lists_or_the_user_has_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.found() == []
    machine(tmp_path, LISTED, monkeypatch)
    assert [name[:5] for name in gpus.found()] == ["GPU-a", "MIG-c", "MIG-d"], "the parts of a divided one"
    for visible, named in (("2,0", ["2", "0"]), ("", []), (" GPU-x ", ["GPU-x"])):
        monkeypatch.setenv(gpus.VISIBLE, visible)
        assert gpus.found() == named
    monkeypatch.delenv(gpus.VISIBLE)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    assert gpus.found() == []


def test_without_a_gpu_nothing_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(gpus.OFFERED, "left by a call around this one")
    assert gpus.offer(tmp_path / "slots", 4) is None
    gpus.take()
    assert gpus.OFFERED not in gpus.os.environ and gpus.VISIBLE not in gpus.os.environ


def test_every_job_has_a_slot_of_its_own_and_a_killed_one_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "3,5")
    assert gpus.offer(tmp_path / "slots") == 2
    with ExitStack() as stack:
        first, second = (stack.enter_context(job()) for _ in range(2))
        taken = {gpu_of(first): first, gpu_of(second): second}
        assert set(taken) == {"3", "5"}
        third = stack.enter_context(job())  # waits: there is no third slot
        taken["5"].kill()
        assert gpu_of(third) == "5"
    assert gpus.offer(tmp_path / "slots", 3) == 3, "more jobs than GPUs: some share one"
    with ExitStack() as stack:
        assert sorted(gpu_of(stack.enter_context(job())) for _ in range(3)) == ["3", "3", "5"]


def test_a_job_of_several_processes_has_as_many_gpus_and_waits_without_holding_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "3,5")
    assert gpus.offer(tmp_path / "slots", 4, most=2) == 4
    with ExitStack() as stack:
        pairs = [gpu_of(stack.enter_context(job(HOLDING.format(2)))) for _ in range(2)]
        assert pairs == ["3,5", "3,5"], "different ones, also where slots share one"
    assert gpus.offer(tmp_path / "slots", most=2) == 2
    with ExitStack() as stack:
        first = stack.enter_context(job(HOLDING.format(1)))
        used = [gpu_of(first)]
        pair = stack.enter_context(job(HOLDING.format(2)))
        other = stack.enter_context(job(HOLDING.format(1)))
        assert [*used, gpu_of(other)] == ["3", "5"], "the job that waits for two holds none"
        first.kill()
        other.kill()
        assert gpu_of(pair) == "3,5"
    with pytest.raises(
        DecorecError, match=r"train\.devices: expected no more than the 2 GPUs that jobs share, found 3"
    ):
        gpus.offer(tmp_path / "slots", most=3)


@pytest.mark.workflow
def test_a_call_of_snakemake_starts_as_many_jobs_as_there_are_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No job waits for a slot, so that no core waits with it; processes and forks give theirs back alike."""
    monkeypatch.setenv(gpus.VISIBLE, "7,8")
    workplace = Workplace(tmp_path / "shop", TINY | {"seeds": [0, 1, 2]})
    targets = [f"results/sample/runs/decorec/seed-{seed}/ranks.parquet" for seed in range(3)]
    result = workplace.snakemake("--cores", "5", "--", *targets)
    assert result.returncode == 0, result.stdout + result.stderr
    said = {path: path.read_text() for path in (workplace.folder / "logs").rglob("*.log")}
    used = {path: set(re.findall(r"computes on GPU (\S+), in slot", text)) for path, text in said.items()}
    assert all(used[path] for path in said if "seed-" in str(path) or path.stem == "features")
    assert set().union(*used.values()) == {"7", "8"}
    assert not [path for path, text in said.items() if "waiting for a GPU" in text]
