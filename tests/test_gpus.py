"""Jobs share the GPUs of a machine, as the memory allows that was promised to each, whatever becomes of them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from decorec import gpus
from decorec.errors import DecorecError
from decorec.gpus import Card
from tests.support.workplace import TINY, Workplace

LISTED = """\
GPU 0: NVIDIA H200 (UUID: GPU-aaaaaaaa-1111-2222-3333-444444444444)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbbbbbb-1111-2222-3333-444444444444)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccccccc-1111-2222-3333-444444444444)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddddddd-1111-2222-3333-444444444444)
"""
MEMORY = """\
GPU-aaaaaaaa-1111-2222-3333-444444444444, 143771
GPU-bbbbbbbb-1111-2222-3333-444444444444, 40960
"""
JOB = """
import os, sys
from decorec import gpus
assert gpus.device("cpu").type == "cpu" and gpus.OFFERED in os.environ, "none without a need"
gpus.device()
print(os.environ[gpus.VISIBLE], flush=True)
assert gpus.OFFERED not in os.environ
sys.stdin.read()
"""

HOLDING = """
import os, sys
from decorec import gpus
gpus.promise({1})
gpus.take({0})
print(os.environ[gpus.VISIBLE], flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def nothing_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpus.VISIBLE, raising=False)


def machine(folder: Path, listed: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose nvidia-smi lists these GPUs; the program."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] && cat <<'END' || cat <<'MB'\n{listed}END\n{MEMORY}MB\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return program


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
    found = [(card.name[:5], card.memory) for card in gpus.found()]
    assert found == [("GPU-a", 143_771), ("MIG-c", 20_000), ("MIG-d", 20_000)], "the parts of a divided one"
    assert [gpus.room(gpus.found(), count) for count in (1, 2)] == [143_771, 20_000]
    for visible, named in (
        ("2,0", [Card("2", 20_000), Card("0", 20_000)]),  # a number may be that of the smallest
        ("", []),
        (" GPU-a ", [Card("GPU-a", 143_771)]),
    ):
        monkeypatch.setenv(gpus.VISIBLE, visible)
        assert gpus.found() == named
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    assert gpus.found() == [Card("GPU-a")] and gpus.room(gpus.found()) is None
    monkeypatch.delenv(gpus.VISIBLE)
    assert gpus.found() == []


def test_without_a_gpu_nothing_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(gpus.OFFERED, "left by a call around this one")
    assert gpus.offer(tmp_path / "gpus", gpus.found(), 4) == {}
    gpus.take()
    assert gpus.OFFERED not in gpus.os.environ and gpus.VISIBLE not in gpus.os.environ


TWO = [Card("3"), Card("5")]
"""Cards of unknown memory."""


def test_every_job_has_a_gpu_of_its_own_and_a_killed_one_gives_it_back(tmp_path: Path) -> None:
    assert gpus.offer(tmp_path / "gpus", TWO) == {"gpu": 2}
    with ExitStack() as stack:
        first, second = (stack.enter_context(job()) for _ in range(2))
        taken = {gpu_of(first): first, gpu_of(second): second}
        assert set(taken) == {"3", "5"}
        third = stack.enter_context(job())  # waits: there is no third GPU
        taken["5"].kill()
        assert gpu_of(third) == "5"
    assert gpus.offer(tmp_path / "gpus", TWO, 3) == {"gpu": 3}, "more jobs than GPUs: some share one"
    with ExitStack() as stack:
        shared = [gpu_of(stack.enter_context(job(HOLDING.format(1, 0)))) for _ in range(3)]
        assert sorted(shared) == ["3", "3", "5"]


def test_a_job_of_several_processes_has_as_many_gpus_and_is_not_overtaken(tmp_path: Path) -> None:
    assert gpus.offer(tmp_path / "gpus", TWO, 4, most=2) == {"gpu": 4}
    with ExitStack() as stack:
        pairs = [gpu_of(stack.enter_context(job(HOLDING.format(2, 0)))) for _ in range(2)]
        assert [sorted(pair.split(",")) for pair in pairs] == [["3", "5"]] * 2, "different ones, also where some share"
    gpus.offer(tmp_path / "gpus", TWO, most=2)
    with ExitStack() as stack:
        first = stack.enter_context(job(HOLDING.format(1, 0)))
        assert gpu_of(first) == "3"
        pair = stack.enter_context(job(HOLDING.format(2, 0)))
        while len(list((tmp_path / "gpus").glob("*.json"))) < 2:
            assert pair.poll() is None
        last = stack.enter_context(job(HOLDING.format(1, 0)))
        first.kill()
        assert gpu_of(pair) == "5,3"
        pair.kill()
        assert gpu_of(last) in ("3", "5")
    with pytest.raises(
        DecorecError, match=r"train\.devices: expected no more than the 2 GPUs that jobs share, found 3"
    ):
        gpus.offer(tmp_path / "gpus", TWO, most=3)


def test_jobs_are_placed_where_the_memory_that_was_promised_to_them_is_left(tmp_path: Path) -> None:
    cards = [Card("small", 20_000), Card("large", 80_000)]
    assert gpus.offer(tmp_path / "gpus", cards) == {"gpu_mb": 100_000}, "as many jobs as there is memory for"
    with ExitStack() as stack:

        def started(memory: int) -> subprocess.Popen[str]:
            return stack.enter_context(job(HOLDING.format(1, memory)))

        jobs = [started(30_000)]
        assert gpu_of(jobs[0]) == "large"
        for memory, name in ((8_000, "small"), (8_000, "large"), (13_000, "large"), (4_000, "small")):
            jobs.append(started(memory))
            assert gpu_of(jobs[-1]) == name, "the fewest jobs, of those with enough left"
        whole = started(80_000)
        while len(list((tmp_path / "gpus").glob("*.json"))) < 6:
            assert whole.poll() is None
        unknown = started(0)  # takes a whole card as well
        for each in jobs:
            each.kill()
        assert gpu_of(whole) == "large"
        whole.kill()
        assert gpu_of(unknown) == "large"
    assert gpus.offer(tmp_path / "gpus", cards, 2) == {"gpu": 2, "gpu_mb": 100_000}
    with ExitStack() as stack:
        pair = stack.enter_context(job(HOLDING.format(2, 90_000)))
        assert gpu_of(pair) == "large,small", "each process has its half, or all of the smaller card"
        single = stack.enter_context(job(HOLDING.format(1, 1_000)))
        pair.kill()
        assert gpu_of(single) == "large", "--resources gpu=2: one on each, also where there is memory for more"


@pytest.mark.workflow
def test_a_call_of_snakemake_starts_as_many_jobs_as_the_memory_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No job waits for a GPU, so that no core waits with it; processes and forks give theirs back alike."""
    program = machine(tmp_path, LISTED.partition("  MIG")[0], monkeypatch)
    program.write_text(re.sub(r", \d+$", ", 8000", program.read_text(), flags=re.MULTILINE))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    workplace = Workplace(tmp_path / "shop", TINY | {"seeds": [0, 1, 2]})
    targets = [f"results/sample/runs/decorec/seed-{seed}/ranks.parquet" for seed in range(3)]
    result = workplace.snakemake("--cores", "5", "--", *targets)
    assert result.returncode == 0, result.stdout + result.stderr
    said = {path: path.read_text() for path in (workplace.folder / "logs").rglob("*.log")}
    used = {path: re.findall(r"computes on GPU GPU-(\S)\S+, with (\S+) MB", text) for path, text in said.items()}
    (of_features,) = [found for path, found in used.items() if path.stem == "features"]
    shared = [found for path, found in used.items() if "seed-" in str(path)]
    assert [memory for _, memory in of_features] == ["8,000"], "the whole of a card"
    assert {name for found in shared for name, _ in found} == {"a", "b"}
    assert all(found and 2_000 < int(found[0][1].replace(",", "")) < 4_000 for found in shared), "two on each"
    assert not [path for path, text in said.items() if "waiting for GPU" in text]
