"""Dry runs in forks are those of processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dry_runs import dry_run

RULE = "rule all:\n    output:\n        config['made'],\n    shell:\n        'touch {output}'\n"
LEFT = {name: f"import sys\n\nsys.exit({code})\n" for name, code in (("early", ""), ("with words", "'a text'"))}


@pytest.mark.parametrize("snakefile", [RULE, *LEFT.values()], ids=["a job", *LEFT])
def test_a_fork_ends_as_a_process_of_its_own_and_says_the_same(snakefile: str, tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(snakefile)
    arguments = ["--cores", "1", "--dry-run", "--quiet", "progress", "host", "--config", "made=a.txt"]
    environment = {**os.environ, "PYTHONPATH": ""}
    forked = dry_run(arguments, tmp_path, environment)
    command = [sys.executable, "-m", "snakemake", *arguments]
    alone = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert forked.returncode == alone.returncode
    assert forked.stderr == alone.stderr
    untimed = (re.sub(r"^\[.* 20\d\d\]$", "", result.stdout, flags=re.MULTILINE) for result in (forked, alone))
    assert next(untimed) == next(untimed)
