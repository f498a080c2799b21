"""Submission to a cluster: a real SLURM on this machine runs the sample pipeline through the profile."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from decorec.artifacts.seal import digest_in
from decorec.config.dask import DaskConfig
from decorec.config.prepare import GraphConfig
from decorec.data.parts import leave_one_out
from decorec.data.sequences import Sequences, write_vocab
from decorec.prepare.cooccurrence import cooccurrence
from tests.support.cluster import cluster, configuration_of, end_dead, is_dead, missing
from tests.support.workplace import REPOSITORY, TINY, Workplace

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(7200)]
needs_slurm = pytest.mark.skipif(missing() is not None, reason=str(missing()))

PROFILE = REPOSITORY / "profiles" / "slurm"
TABLE = "results/tables/main.csv"
MODEL = "results/sample/runs/sasrec-features/seed-0/fit/model.safetensors"
ON_GPU = {
    *("features", "train", "production_train", "tune"),
    *("evaluate", "recommend", "modality_modes", "gradient_probe", "new_items"),
}
INGESTED = ("reviews.jsonl.gz", "meta.jsonl.gz", "checksums.json")
SHORT: dict[str, Any] = TINY | {
    "runs": {"sasrec-features": {"model": {"name": "sasrec-features", "dim": 8}}},
    "tables": {"main": ["sasrec-features"], "reference": "sasrec-features"},
}
"""One training on the features, without the graph and the clusters."""


def in_two(how: str) -> dict[str, Any]:
    """The same in two processes: of one machine (``devices``), or of two (``nodes``)."""
    run = SHORT["runs"]["sasrec-features"] | {"train": {how: 2}}
    return SHORT | {"runs": {"sasrec-features": run}}


WATCHING = """
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda executor: 3, lambda executor, longer: None)
main()
"""
"""Snakemake that looks at the queue every three seconds: by itself it waits ten seconds more after each look that found
all jobs as they were. Each look starts two commands of SLURM."""
KEEPING = {"features", "train", "production_train", "tune", "gradient_probe", "new_items"}
"""Rules whose step keeps the state of a training when it is told to end."""


def rules() -> dict[str, str]:
    """Rule -> its text; of a rule that is made from another one, with the text of that one behind it."""
    text = "\n".join(path.read_text() for path in sorted((REPOSITORY / "workflow" / "rules").glob("*.smk")))
    head = r"^(?:use rule (\w+) as (\w+) with|(?:rule|checkpoint) (\w+)):\n"
    pattern = head + r"(.*?)(?=^use rule |^rule |^checkpoint |\Z)"
    found = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    own = {rule: body for _, _, rule, body in found if rule}
    return own | {made: body + own[base] for base, made, _, body in found if made}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The table computed on this machine, without a scheduler."""
    local = Workplace(tmp_path_factory.mktemp("local") / "shop", TINY, TABLE)
    result = local.snakemake("--", TABLE)
    assert result.returncode == 0, result.stdout + result.stderr
    return local


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with cluster() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield


def submit(workplace: Workplace, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it through the profile as it is; only the waiting is shortened.

    The cluster has no accounting, which is what `sacct` would ask, and eight cores.
    """
    workplace.program = ("-c", WATCHING)
    here = ["--slurm-status-command", "squeue", "--cores", "8"]
    return workplace.snakemake("--profile", str(PROFILE), *here, *options, "--", TABLE)


def jobs() -> list[dict[str, str]]:
    """Everything that SLURM knows of each job, as it calls it."""
    shown = ["scontrol", "--oneliner", "show", "jobs"]
    lines = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.splitlines()
    known = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
    return [job for job in known if job]  # before the first one it says that there are none


@needs_slurm
def test_the_profile_runs_every_step_under_slurm_with_the_same_result(
    tmp_path: Path, local: Workplace, slurm: None
) -> None:
    submitted = Workplace(tmp_path / "submitted", TINY, TABLE)
    planned = submitted.planned_by_rule()
    assert planned.pop("total") == sum(planned.values())
    result = submit(submitted, "--slurm-keep-successful-logs")  # they are counted below
    assert result.returncode == 0, result.stdout + result.stderr
    assert (submitted.folder / TABLE).read_bytes() == (local.folder / TABLE).read_bytes()

    done = jobs()
    assert len(done) == sum(planned.values())
    assert all(job["JobState"] == "COMPLETED" for job in done)
    asked = [value for job in done for name, value in job.items() if name.startswith("TresPer")]
    assert asked.count("gres:gpu:1") == sum(planned[rule] for rule in ON_GPU & set(planned))
    logs = submitted.folder / "logs" / "slurm"
    under_slurm = {folder.name.removeprefix("rule_"): len(list(folder.rglob("*.log"))) for folder in logs.iterdir()}
    assert under_slurm == planned


@needs_slurm
def test_a_job_that_needs_more_memory_gets_it_and_one_that_loses_its_node_runs_again(
    tmp_path: Path, local: Workplace, slurm: None
) -> None:
    """Of a chain whose raw data are there: ingest, features, one training and what reads it.

    The training has two nodes, and computes what two processes of one machine do.
    """
    submitted, alone = (local.copy(tmp_path / how, in_two(how)) for how in ("nodes", "devices"))
    expected = alone.snakemake("--", TABLE)
    assert expected.returncode == 0, expected.stdout + expected.stderr
    refused = submitted.snakemake("--", TABLE)
    assert refused.returncode and "expected a job of SLURM for a training on 2 nodes, found no job" in refused.stderr
    assert "Execute" not in refused.stderr, "before any job is started"
    for kept in ("encoders", "features"):
        shutil.rmtree(submitted.folder / "results/cache" / kept)
    rules = submitted.folder / "workflow/rules/acquire.smk"
    text = rules.read_text()
    for rule, usual, other in (("rule features", "8, 2", "0.8"), ("checkpoint ingest", "4, 6", "1, 1e5")):
        head, body = text.split(f"{rule}:")
        assert f"mem=memory({usual})" in body
        text = f"{head}{rule}:{body.replace(f'mem=memory({usual})', f'mem=memory({other})', 1)}"
    rules.write_text(text)
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(submit, submitted, "--retries", "9", "--forcerun", "ingest", "features")
        while not [job for job in jobs() if "rule_train/" in job["StdOut"] and job["JobState"] == "RUNNING"]:
            assert not result.done(), result.result().stdout + result.result().stderr
            time.sleep(1)  # a job starts Python three times before it can end
        for state in ("down", "resume"):
            change = ["scontrol", "update", "nodename=second", f"state={state}", "reason=test"]
            subprocess.run(change, check=True)
        assert result.result().returncode == 0, result.result().stdout + result.result().stderr
    assert (submitted.folder / TABLE).read_bytes() == (alone.folder / TABLE).read_bytes()
    assert (submitted.folder / TABLE).read_bytes() != (local.folder / TABLE).read_bytes()

    (reading,) = [job for job in jobs() if "rule_ingest/" in job["StdOut"]]
    read = sum((submitted.folder / "results/sample/raw" / name).stat().st_size for name in INGESTED)
    assert reading["MinMemoryNode"] in (f"{round(1e3 + read / 10)}M", f"{(1e3 + read / 10) / 1024:g}G")
    tried = [job for job in jobs() if "rule_features/" in job["StdOut"]]
    assert len(tried) > 1 and [job["MinMemoryNode"] for job in tried] == [
        f"{800 * attempt}M" for attempt in range(1, len(tried) + 1)
    ]
    assert [job["TimeLimit"] for job in tried[:2]] == ["08:00:00", "16:00:00"]
    assert tried[-1]["JobState"] == "COMPLETED" and "COMPLETED" not in {job["JobState"] for job in tried[:-1]}
    trained = [job for job in jobs() if "rule_train/" in job["StdOut"]]
    assert trained[-1]["JobState"] == "COMPLETED" and trained[-1]["NodeList"] == "first,second"
    one, other = (digest_in(place.folder / MODEL) for place in (submitted, alone))
    assert one == other != ""
    assert len(trained) > 1 or trained[0]["Restarts"] != "0", "by a new job, or SLURM has queued the lost one again"


@needs_slurm
def test_workers_of_dask_that_are_jobs_count_what_one_process_counts(tmp_path: Path, slurm: None) -> None:
    """They are started as docs/how-to/big-data.md says."""
    page = (REPOSITORY / "docs/how-to/big-data.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    for there, here in (('queue="cpu"', 'queue="all"'), ("maximum_jobs=20", "maximum_jobs=1")):
        assert there in script
        script = script.replace(there, here)
    (tmp_path / "workers.py").write_text(script, encoding="utf-8")
    walks = np.random.default_rng(0).integers(0, 30, (50, 8), dtype=np.int32)
    users = [f"u{index}" for index in range(50)]
    data = Sequences(users, np.arange(0, 401, 8), walks.ravel(), split=leave_one_out(np.full(50, 8)))
    data.write(tmp_path / "sequences.parquet")
    write_vocab(tmp_path / "vocab.parquet", [f"i{index}" for index in range(30)])

    def counted(scheduler: str | None) -> bytes:
        files = {name: tmp_path / f"{name}.parquet" for name in ("vocab", "sequences")}
        section, matrix = DaskConfig(scheduler=scheduler), tmp_path / "s.npz"
        cooccurrence(settings=GraphConfig(), **files, matrix=matrix, dask=section, threads=1)
        return matrix.read_bytes()

    command = [sys.executable, "workers.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as cluster:
        try:
            assert cluster.stdout is not None
            assert counted(cluster.stdout.readline().strip()) == counted(None)
            (job,) = jobs()
            assert (job["JobName"], job["JobState"]) == ("dask-worker", "RUNNING")
        finally:
            cluster.send_signal(signal.SIGINT)
    while jobs()[0]["JobState"] != "CANCELLED":  # a node that goes away would leave its jobs behind
        time.sleep(0.1)


def test_what_a_killed_test_run_left_is_ended_and_nothing_else(tmp_path: Path) -> None:
    """Its daemons are those that were told of the configuration which its link names, also where that is gone."""
    link = tmp_path / "slurm.conf"
    with ExitStack() as stack:

        def process(configuration: str = "") -> subprocess.Popen[bytes]:
            told = {**os.environ, "SLURM_CONF": configuration}
            started = stack.enter_context(subprocess.Popen(["sleep", "600"], env=told))
            stack.callback(started.kill)
            return started

        link.write_text("ClusterName=real\n")
        end_dead(link)
        assert not is_dead(link) and link.read_text() == "ClusterName=real\n"
        run, own = process(), configuration_of(os.getpid())
        for name in ("slurm.conf", f"{own}.old", own, configuration_of(run.pid)):
            link.unlink()
            link.symlink_to(tmp_path / "gone" / name)
            end_dead(link)
            assert not is_dead(link) and link.is_symlink(), "of another cluster, or of a run that lives"
        other, left = process(str(tmp_path / own)), process(str(link.readlink()))
        run.kill()
        run.wait()
        assert is_dead(link)
        end_dead(link)
        assert not link.is_symlink() and left.wait() == -signal.SIGKILL and other.poll() is None
    number, start = re.findall(r"\d+", own)
    link.symlink_to(own.replace(start, str(int(start) - 1)))
    assert is_dead(link), f"the number {number} belongs to another process now"


def test_rules_ask_for_a_gpu_where_the_environment_has_one() -> None:
    """Rules whose conda environment is the one for GPUs, and no others; with `tasks: 0` against doubled starts."""
    asked = yaml.safe_load((PROFILE / "profile.yaml").read_text())["set-resources"]
    assert set(asked) == {name for name, body in rules().items() if "envs/gpu.yaml" in body} == ON_GPU
    several = {"train", "production_train"}  # as many as the run has processes, on its nodes
    bodies = rules()
    assert {name for name, body in bodies.items() if "        gpu=1,\n" in body} == ON_GPU - several
    assert {name for name, body in bodies.items() if "        gpu=ask(plan." in body} == several
    assert {name for name, resources in asked.items() if "gpu" not in resources} == several
    for name in ("nodes=ask(plan.", "tasks=over_nodes(", "mpi=over_nodes("):
        assert {rule for rule, body in bodies.items() if f"        {name}" in body} == several
    assert not any({"nodes", "mpi"} & set(resources) for resources in asked.values())
    assert all(resources.get("gpu", 1) == 1 and resources["tasks"] == 0 for resources in asked.values())


def test_the_profile_asks_for_a_warning_where_a_step_keeps_its_state() -> None:
    """Long before the time limit; the shell of the rule then waits for the step."""
    asked = yaml.safe_load((PROFILE / "profile.yaml").read_text())["set-resources"]
    warned = {name for name, resources in asked.items() if resources.get("slurm_extra") == "'--signal=TERM@120'"}
    assert warned == KEEPING >= {name for name, body in rules().items() if "layout.training_state(" in body}
    assert "trap : TERM; " in (REPOSITORY / "workflow/rules/common.smk").read_text()
