"""What a call of Snakemake is known to have done: while it runs, after its end, and after a kill."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from decorec.artifacts import layout, step_log
from decorec.cli import main
from decorec.errors import DecorecError
from decorec.plan.call import FILE, Call, Watcher
from decorec.plan.costs import TABLE, Cost
from decorec.plan.jobs import names_of
from decorec.plan.left import left
from decorec.plan.status import report, status
from decorec.plan.telling import Teller

COMMANDS = {
    1: "python -m decorec split --vocab results/shop/vocab.parquet --threads 1 2> logs/shop/split.log",
    2: "python -m decorec cluster --interests results/shop/interests/text.safetensors 2> logs/shop/cluster-text.log",
    3: "python -m decorec cluster --interests results/shop/interests/image.safetensors 2> logs/shop/cluster-image.log",
    4: "python -m decorec cooccurrence --matrix results/shop/graph/cooccurrence.npz 2> logs/shop/cooccurrence.log",
    5: "python -m decorec neighbour-recall --recall results/shop/recall.parquet 2> logs/shop/neighbour-recall.log",
}
"""Snakemake's number of a job -> its command; number 0 is the rule all, which has none."""
RUN = f"""
import logging, sys, time
from pathlib import Path
from decorec.plan.call import Call, Watcher
from decorec.plan.jobs import names_of
from decorec.plan.running import enter
assert enter(Path(".snakemake")) is None
commands, logger = {COMMANDS!r}, logging.getLogger("snakemake.logging")
logger.setLevel(logging.INFO)
call = Call.this(commands.values(), 2)
watcher = Watcher(Path(".snakemake"), call, names_of({{0: "", **commands}}), sys.exit)
logger.addHandler(watcher)
def say(event, **facts):
    logger.info(None, extra={{"event": event, **facts}})
say("job_started", jobs=[0, 1])
say("job_finished", job_id=1)
say("job_started", jobs=[2, 3, 4])
say("progress", done=1, total=6)
say("job_finished", job_id=2)
say("job_error", jobid=3)
while len(call.of("done")) < 2 or not call.of("failed"):
    time.sleep(0.01)
print("ready", flush=True)
if sys.stdin.readline():
    logger.removeHandler(watcher)
    watcher.close()
    print("closed", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").touch()
    for name in ("shop/cluster-image", "shop/cooccurrence"):
        file = Path(layout.log(name))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"line {number} of {name}\n" for number in range(9)))
    return tmp_path


def running() -> Any:
    process = subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_a_call_is_told_of_while_it_runs_and_after_a_kill(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running() as process:
        before = (project / ".snakemake" / FILE).read_bytes()
        main(["status"])
        said = capsys.readouterr().out
        process.kill()
    assert (project / ".snakemake" / FILE).read_bytes() == before, "a look changes nothing"
    assert f"runs: process {process.pid} on " in said
    assert "\n5 jobs: 2 done, 1 running, 1 failed, 1 waiting\n" in said
    assert "running:\n  cooccurrence shop/cooccurrence, " in said and "s: line 8 of shop/cooccurrence\n" in said
    assert "waiting: 1 neighbour-recall\n" in said
    failed = said[said.index("failed:\n") :].splitlines()
    assert failed[1:] == [
        "  cluster shop/cluster-image: logs/shop/cluster-image.log",
        *(f"    line {number} of shop/cluster-image" for number in range(4, 9)),
    ]
    with (project / ".snakemake" / FILE).open("a") as file:
        file.write('{"time": 1, "do')  # the kill came in the middle of a write
    said = report(Call.read(project / ".snakemake"))
    assert "was killed: started " in said and "2 done, 1 failed, 1 cut off, 1 waiting" in said
    assert "cut off by the end of the call:\n  cooccurrence shop/cooccurrence: line 8" in said


def test_a_call_that_has_ended_is_told_from_one_that_was_killed(project: Path) -> None:
    with running() as process:
        print("end", file=process.stdin, flush=True)
        assert process.stdout.readline() == "closed\n"
        call = Call.read(project / ".snakemake")
        assert call is not None and call.end is not None
        process.kill()
    assert "has ended: started " in report(call)


def test_without_a_call_the_last_steps_are_told_and_elsewhere_what_is_expected(project: Path) -> None:
    assert report(None) == "No call of Snakemake is recorded here."
    Path("results").mkdir()
    step = {"time": "2026-01-01T00:00:00+00:00", "step": "split", "output": "results/shop/vocab.parquet"}
    step_log.append(Path(layout.STEP_LOG), step | {"outcome": "failed", "message": "the disk is full"})
    with Path(layout.STEP_LOG).open("a") as file:
        file.write('{"ti')
    assert report(None).splitlines()[1:] == [
        "  2026-01-01T00:00:00+00:00 split results/shop/vocab.parquet failed: the disk is full",
        "results/log.jsonl: 1 lines are cut off or damaged, and passed over",
    ]
    (project / "config.yaml").unlink()
    with pytest.raises(DecorecError, match="expected the folder in which snakemake runs"):
        status()


def test_the_time_left_follows_from_what_the_jobs_took_so_far(project: Path) -> None:
    call = Call.this(COMMANDS.values(), cores=2)
    costs = {job.name: Cost(10.0, 10.0, 100.0, TABLE) for job in call.jobs}
    assert left(call, costs, now=0.0) == (50.0, 0), "what comes before the trainings is one chain"
    for time, kind, name in (
        (100, "running", "split"),
        (110, "done", "split"),
        (110, "running", "cluster-text"),
        (140, "done", "cluster-text"),
        (140, "running", "cluster-image"),
    ):
        call.note({"time": time, kind: [f"shop/{name}"]})
    # Clusters take three times what was expected, and one has run for 5 s; other steps take twice as long.
    assert left(call, costs, now=145.0) == (30.0 - 5.0 + 20.0 + 20.0, 0)
    del costs["shop/cooccurrence"]
    assert left(call, costs, now=145.0) == (30.0 - 5.0 + 20.0, 1)
    call.note({"time": 200, "failed": ["shop/cluster-image"]})
    assert left(call, costs, now=200.0) == (20.0, 1)


def test_a_line_about_all_jobs_follows_the_jobs_that_are_done(project: Path) -> None:
    call, said = Call.this(COMMANDS.values(), cores=2), list[str]()
    often, seldom = Teller(said.append, between=0.0), Teller(said.append, between=1e9)
    often(call)
    call.note({"time": call.start, "running": ["shop/split"]})
    often(call)
    assert not said, "no job is done"
    call.note({"time": call.start + 1, "done": ["shop/split"]})
    often(call)
    often(call)
    (line,) = said
    assert line.startswith("decorec: 1 of 5 jobs done, ")
    assert line.endswith(" passed, of 4 jobs it is not known yet how long they take")
    facts = {"users": 100, "items": 50, "interactions": 1000}
    Path(layout.fill(layout.STATISTICS, dataset="shop")).parent.mkdir(parents=True)
    Path(layout.fill(layout.STATISTICS, dataset="shop")).write_text(json.dumps(facts))
    names = [job.name for job in call.jobs]
    call.note({"time": call.start + 1, "running": names[1:]})
    call.note({"time": call.start + 2, "failed": names[1:2]})
    seldom(call)
    assert re.search(r"done, 1 failed, \d+ s passed, about \d+ s left with 2 cores; now cluster shop/", said[-1])
    call.note({"time": call.start + 3, "done": names[2:3]})
    seldom(call)
    assert len(said) == 2, "too soon after the last line"
    call.note({"time": call.start + 3, "done": names[3:]})
    seldom(call)
    assert re.search(r": 4 of 5 jobs done, 1 failed, \d+ s passed$", said[-1]), "the end is told in any case"


def test_what_is_told_has_the_jobs_that_took_the_place_of_one_that_is_done(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decorec.plan.call.SETTLED", 3600.0)
    told: list[tuple[int, int]] = []
    call = Call.this(COMMANDS.values(), 1)
    (project / ".snakemake").mkdir()
    watcher = Watcher(
        project / ".snakemake",
        call,
        names_of(COMMANDS),
        told.append,
        lambda call: told.append((len(call.of("done")), len(call.of("running")))),
    )
    for event in ({"event": "job_started", "jobs": [1, 0]}, {"event": "job_finished", "job_id": 1}):
        watcher.handle(logging.makeLogRecord(event))
    watcher.handle(logging.makeLogRecord({"event": "job_started", "jobs": [2]}))
    watcher.close()
    assert told == [(1, 1)]


def test_jobs_that_are_not_needed_any_more_are_told_apart_from_those_that_wait(project: Path) -> None:
    said: list[str] = []
    (project / ".snakemake").mkdir()
    left = {0, *COMMANDS}
    call = Call.this(COMMANDS.values(), 1)
    watcher = Watcher(
        project / ".snakemake", call, names_of(COMMANDS), said.append, Teller(said.append, 3600.0), lambda: left
    )
    watcher.handle(logging.makeLogRecord({"event": "progress", "done": 0, "total": 6}))
    watcher.handle(logging.makeLogRecord({"event": "job_started", "jobs": [1]}))
    left -= {2, 3, 5}
    watcher.handle(logging.makeLogRecord({"event": "job_finished", "job_id": 1}))
    watcher.handle(logging.makeLogRecord({"event": "progress", "done": 1, "total": 3}))
    watcher.handle(logging.makeLogRecord({"event": "job_started", "jobs": [4]}))
    watcher.handle(logging.makeLogRecord({"event": "job_finished", "job_id": 4}))
    watcher.close()
    found = Call.read(project / ".snakemake")
    assert found is not None
    assert {kind: len(found.of(kind)) for kind in ("done", "unneeded")} == {"done": 2, "unneeded": 3}
    assert found.over and "5 jobs: 2 done, 3 not needed any more" in report(found)


def test_what_goes_wrong_in_the_record_is_a_line_and_no_more(project: Path) -> None:
    said: list[str] = []
    (project / ".snakemake").mkdir()
    for folder, event, error in (
        ("absent", {"event": "job_finished", "job_id": 1}, "FileNotFoundError"),
        (".snakemake", {"event": "job_finished", "number": 1}, "KeyError"),  # as another version might call it
    ):
        watcher = Watcher(project / folder, Call.this(COMMANDS.values(), 1), {1: "shop/split"}, said.append)
        watcher.handle(logging.makeLogRecord(event))
        watcher.close()
        assert said.pop().startswith(f"decorec: what runs is not recorded any more ({error}: ") and not said
    assert Call.read(project / "absent") is None
    (project / FILE).write_text(json.dumps({"run": 3}))
    assert Call.read(project) is None
