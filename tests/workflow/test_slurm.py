"""Submission to a cluster: a real SLURM on this machine runs the sample pipeline through the profile."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.cluster import cluster, missing
from tests.support.workplace import REPOSITORY, TINY, Workplace

pytestmark = pytest.mark.workflow

PROFILE = REPOSITORY / "profiles" / "slurm"
TABLE = "results/tables/main.csv"
ON_GPU = {
    *("features", "train", "production_train", "tune"),
    *("evaluate", "recommend", "modality_modes", "gradient_probe", "new_items"),
}
KEEPING = {"features", "train", "production_train", "tune", "gradient_probe", "new_items"}
"""Rules whose step keeps the state of a training when it is told to end."""


def rules() -> dict[str, str]:
    """Rule -> its text; of a rule that is made from another one, with the text of that one behind it."""
    text = "\n".join(path.read_text() for path in sorted((REPOSITORY / "workflow" / "rules").glob("*.smk")))
    pattern = r"^(?:use rule (\w+) as (\w+) with|rule (\w+)):\n(.*?)(?=^use rule |^rule |\Z)"
    found = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    own = {rule: body for _, _, rule, body in found if rule}
    return own | {made: body + own[base] for base, made, _, body in found if made}


@pytest.mark.timeout(7200)
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_profile_runs_every_step_under_slurm_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Workplace(tmp_path / "local", TINY, TABLE)
    result = local.snakemake("--", TABLE)
    assert result.returncode == 0, result.stdout + result.stderr
    submitted = Workplace(tmp_path / "submitted", TINY, TABLE)
    planned = submitted.planned_by_rule()
    assert planned.pop("total") == sum(planned.values())
    with cluster(tmp_path / "slurm") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        # The profile as it is; only the waiting is shortened, and the logs of successful jobs are kept to be counted.
        # The cluster has no accounting, which is what `sacct` would ask.
        quick = (
            "--slurm-status-command",
            "squeue",
            "--seconds-between-status-checks",
            "1",
            "--slurm-init-seconds-before-status-checks",
            "1",
        )
        result = submitted.snakemake("--profile", str(PROFILE), *quick, "--slurm-keep-successful-logs", "--", TABLE)
        assert result.returncode == 0, result.stdout + result.stderr
        shown = ["scontrol", "--oneliner", "show", "jobs"]
        jobs = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.splitlines()
    assert (submitted.folder / TABLE).read_bytes() == (local.folder / TABLE).read_bytes()

    assert len(jobs) == sum(planned.values())
    assert all("JobState=COMPLETED" in job for job in jobs)
    assert sum(bool(re.search(r"TresPer\w+=gres:gpu:1\b", job)) for job in jobs) == sum(
        planned[rule] for rule in ON_GPU & set(planned)
    )
    logs = submitted.folder / "logs" / "slurm"
    under_slurm = {folder.name.removeprefix("rule_"): len(list(folder.rglob("*.log"))) for folder in logs.iterdir()}
    assert under_slurm == planned


def test_rules_ask_for_a_gpu_where_the_environment_has_one() -> None:
    """Rules whose conda environment is the one for GPUs, and no others; with `tasks: 0` against doubled starts."""
    asked = yaml.safe_load((PROFILE / "profile.yaml").read_text())["set-resources"]
    assert set(asked) == {name for name, body in rules().items() if "envs/gpu.yaml" in body} == ON_GPU
    assert {name for name, body in rules().items() if "        gpu=1,\n" in body} == ON_GPU
    assert all(resources["gpu"] == 1 and resources["tasks"] == 0 for resources in asked.values())


def test_the_profile_asks_for_a_warning_where_a_step_keeps_its_state() -> None:
    """Long before the time limit; the shell of the rule then waits for the step."""
    asked = yaml.safe_load((PROFILE / "profile.yaml").read_text())["set-resources"]
    warned = {name for name, resources in asked.items() if resources.get("slurm_extra") == "'--signal=TERM@120'"}
    assert warned == KEEPING >= {name for name, body in rules().items() if "layout.training_state(" in body}
    assert "trap : TERM; " in (REPOSITORY / "workflow/rules/common.smk").read_text()
