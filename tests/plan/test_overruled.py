"""What a call says of values that count for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from decorec.config import load
from decorec.config.base import merge
from decorec.errors import DecorecError
from decorec.plan.overruled import misspelt, overruled
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
        ("sample-full.yaml",),
        ("hm-large.yaml", "tuned-hm.yaml"),
        ("advantages.yaml",),
        ("scientific.yaml", "competitors.yaml", "tuned-scientific.yaml", "advantages.yaml"),
        ("hm.yaml", "competitors-times.yaml", "temporal.yaml", "tuned-hm.yaml"),
    ],
)
def test_the_files_of_the_repository_overrule_nothing(names: tuple[str, ...]) -> None:
    config = load(shipped(*names))
    assert overruled(config) == [] and misspelt(config) == []


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


def test_a_data_set_that_is_nearly_named_as_a_configured_one_is_told() -> None:
    """Values of quite other data sets stand there on purpose, as those of the sample shop in config.yaml."""
    values = {"sasrec": {"model": {"dim": 32}}}
    tuned = {"scientifc": values, "hm": values, "scientific-2023": values}
    assert misspelt(load(merge(shipped("scientific.yaml"), {"tuned": tuned}))) == [
        "tuned.scientifc: its values are not used, since no data set has this name; did you mean 'scientific'?"
    ]
    for never in ("Scientific", "hm_large", "results"):
        with pytest.raises(DecorecError, match=rf"tuned: .*found '{never}'"):
            load(shipped() | {"tuned": {never: values}})


def test_a_dry_run_says_it(tmp_path: Path) -> None:
    tuned = {name: {"decorec": {"train": {"epochs": 3}}} for name in ("sample", "smaple")}
    workplace = Workplace(tmp_path / "place", TINY | {"tuned": tuned})
    result = workplace.snakemake("--dry-run", "results/tables/main.csv")
    for line in (
        "train.epochs: 2 is not used on sample by decorec, since tuned.sample says 3; change it there",
        "tuned.smaple: its values are not used, since no data set has this name; did you mean 'sample'?",
    ):
        assert (result.stdout + result.stderr).count(line) == 1
