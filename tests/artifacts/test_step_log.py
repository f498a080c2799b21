"""The log of the steps: one line per finished step of a folder of results, whole also with many steps at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decorec.artifacts import layout, step_log
from decorec.cli import main
from decorec.plan.costs import measurement
from tests.support import small


def test_every_finished_step_leaves_one_line_beside_its_results(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "shop"
    data = small.sequences()
    data.write(folder / "sequences.parquet")
    step = ["whole-sequences", "--sequences", str(folder / "sequences.parquet"), "--output"]
    main([*step, str(folder / "production" / "sequences.parquet")])
    with pytest.raises(SystemExit):
        missing = str(folder / "runs/sasrec/seed-3/fit/absent.parquet")
        main(["whole-sequences", "--sequences", missing, "--output", missing])
    main([*step, str(tmp_path / "elsewhere" / "sequences.parquet")])
    (done, failed), damaged = step_log.read(tmp_path / layout.STEP_LOG)
    assert damaged == 0 and not (tmp_path / "elsewhere" / "results").exists()
    named = {"step": "whole-sequences", "dataset": "shop", "run": "", "outcome": "done"}
    assert named.items() <= done.items() and "message" not in done
    assert done["output"] == "results/shop/production/sequences.parquet"
    users = {"sequences.parquet": len(data.users)}
    assert (done["rows_in"], done["rows_out"]) == (users, users)
    assert done["seconds"] >= 0 and done["processor_seconds"] > 0 and done["peak_memory_mb"] > 10
    named = {"dataset": "shop", "run": "sasrec", "seed": "3", "stage": "fit", "outcome": "failed"}
    assert named.items() <= failed.items() and failed["message"].startswith(f"{missing}: expected ")


def test_lines_of_steps_that_end_at_once_are_whole_and_a_torn_one_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    whole = {"time": "", "step": "s", "outcome": "done"}
    file.write_text(json.dumps(whole) + '\n{"time": "", "st')  # a kill in the middle of a write
    code = (
        "import sys; from pathlib import Path; from decorec.artifacts.step_log import append\n"
        "for number in range(50): append(Path(sys.argv[1]),"
        " {'time': number, 'step': sys.argv[2] * 3000, 'outcome': 'done'})"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, file, letter]) for letter in "abcdefgh"]
    assert [process.wait() for process in processes] == [0] * 8
    lines, damaged = step_log.read(file)
    assert damaged == 1 and lines[0] == whole
    for letter in "abcdefgh":
        assert [line["time"] for line in lines if line["step"] == letter * 3000] == list(range(50))
    assert len(lines) == 401


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("results/shop/vocab.parquet", {"dataset": "shop"}),
        ("results/shop/runs/a-b/interests/text.safetensors", {"dataset": "shop", "run": "a-b"}),
        ("results/shop/runs/a/seed-2/ranks.parquet", {"dataset": "shop", "run": "a", "seed": "2"}),
        ("results/shop/export/a/manifest.json", {"dataset": "shop", "run": "a"}),
        ("results/tuning/shop/a.parquet", {"dataset": "shop"}),
        ("results/tables/main.csv", {}),
        ("results/cache/training/shop/production/fit.safetensors", {}),
        ("elsewhere/shop/vocab.parquet", {}),
    ],
)
def test_what_a_path_says_of_its_file(path: str, expected: dict[str, str]) -> None:
    assert layout.described(Path(path)) == expected


WORKER = """
import sys, time
ballast = bytearray(150_000_000)
while time.process_time() < 1:
    pass
print(time.process_time(), flush=True)
sys.stdin.read()
"""


def test_the_work_of_processes_that_still_run_counts() -> None:
    """As of the processes that decode pictures; Snakemake's own measurement misses what comes after its last look."""
    before = step_log.Used.so_far(time.monotonic())
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        worked = float(worker.stdout.readline())
        during = step_log.Used.so_far(time.monotonic())
        worker.communicate()
    after = step_log.Used.so_far(time.monotonic())
    rounding = 0.1
    assert during.processor_seconds - before.processor_seconds > worked - rounding
    assert after.processor_seconds - before.processor_seconds > worked - rounding
    assert during.memory - before.memory > 140


SMALL = "import time; from decorec.artifacts import step_log; print(step_log.Used.so_far(time.monotonic()).memory)"


def test_the_memory_of_a_process_is_not_that_of_the_one_that_started_it() -> None:
    ballast = b"x" * 500_000_000
    used = subprocess.run([sys.executable, "-c", SMALL], capture_output=True, text=True, check=True)
    assert 1 < float(used.stdout) < len(ballast) / 1e6


def test_a_job_of_the_workflow_has_what_it_took_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small.sequences().write(Path("results/shop/sequences.parquet"))
    step = ["whole-sequences", "--sequences", "results/shop/sequences.parquet", "--output"]
    main([*step, "results/shop/production/sequences.parquet", "--log", "logs/shop/production/sequences.log"])
    taken = measurement("shop/production/sequences")
    (line,), _ = step_log.read(Path(layout.STEP_LOG))
    assert taken["cpu_time"] == line["processor_seconds"] and round(taken["max_rss"]) == line["peak_memory_mb"]
    assert taken["s"] == line["seconds"]
    main([*step, "results/shop/production/sequences.parquet", "--log", "elsewhere.log"])
    assert [path.name for path in Path("results/benchmarks").rglob("*.*")] == ["sequences.tsv"]
