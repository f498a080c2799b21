"""What a call says of values that tuned ones replace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from decorec.config import load
from decorec.config.base import merge
from decorec.plan.overruled import overruled
from tests.support.workplace import REPOSITORY, TINY, Workplace

CONFIG = REPOSITORY / "config"


def shipped(*names: str) -> dict[str, Any]:
    """config.yaml with files laid over it, as a call has them."""
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    for name in names:
        overlay = yaml.safe_load((CONFIG / name).read_text())
        found = merge(found | ({"datasets": {}} if "datasets" in overlay else {}), overlay)
    return found


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("advantages.yaml",),
        ("scientific.yaml", "competitors.yaml", "tuned-scientific.yaml", "advantages.yaml"),
        ("hm.yaml", "competitors-times.yaml", "temporal.yaml", "tuned-hm.yaml"),
    ],
)
def test_the_files_of_the_repository_overrule_nothing(names: tuple[str, ...]) -> None:
    assert overruled(load(shipped(*names))) == []


def test_values_that_count_for_nothing_are_named_with_their_runs() -> None:
    change = {
        "train": {"epochs": 7},
        "runs": {"sasrec": {"model": {"dim": 32}}, "mine": {"model": {"name": "sasrec", "dim": 16}}},
    }
    first, second = overruled(load(merge(shipped(), change)))
    assert first.startswith("train.epochs: 7 is not used on sample by decorec, decorec-plus, sasrec and ")
    assert first.endswith(" more, since tuned.sample says 100; change it there")
    assert second == "model.dim: 32 is not used on sample by sasrec, since tuned.sample says 64; change it there"
    elsewhere = merge(shipped("scientific.yaml"), change)
    assert overruled(load(elsewhere)) == [], "the values of the sample shop are for the sample shop"


def test_a_dry_run_says_it(tmp_path: Path) -> None:
    tuned = {"sample": {"decorec": {"train": {"epochs": 3}}}}
    workplace = Workplace(tmp_path / "place", TINY | {"tuned": tuned})
    result = workplace.snakemake("--dry-run", "results/tables/main.csv")
    line = "train.epochs: 2 is not used on sample by decorec, since tuned.sample says 3; change it there"
    assert (result.stdout + result.stderr).count(line) == 1
