"""The tables of sensitivity: validation from the files of metrics, test from the files of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from decorec.artifacts.files import write_json
from decorec.errors import DecorecError
from decorec.evaluation.metrics import REPORTED
from decorec.tables.sensitivity import RunValues, sensitivity_table
from tests.support.fabricated_ranks import (
    EVALUATE,
    HISTORIES,
    RUNS,
    SEEDS,
    Ranks,
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    fabricate,
    html_root,
    outputs_of,
    records,
    seed_means,
    under,
)

VALUES = RunValues({"my-run": 0.5, "decorec": 2.0, "sasrec": 8.0})


def metrics(ranks: list[Path]) -> list[Path]:
    """A metrics.json beside each file of ranks; the figure on validation tells the run and the seed."""
    files = []
    for file in ranks:
        run, seed = file.parents[1].name, int(file.parent.name.removeprefix("seed-"))
        figure = 0.1 * (RUNS.index(run) + 1) + 0.01 * seed
        valid = {history: dict.fromkeys(REPORTED, figure + 0.001 * (history == "masked")) for history in HISTORIES}
        files.append(file.with_name("metrics.json"))
        write_json(files[-1], {"valid": valid, "test": {}})
    return files


def make(folder: Path, **changes: Any) -> tuple[list[dict[str, str]], Ranks]:
    files, ranks = fabricate(folder)
    outputs = outputs_of(folder, "tau")
    given = {"knob": "tau", "ranks": files, "metrics": metrics(files), "values": VALUES, "reference": "decorec"}
    sensitivity_table(**(given | {"evaluate": EVALUATE} | changes), **outputs)  # type: ignore[arg-type]
    assert_md_says_what_html_says(outputs["md"], outputs["html"])
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=4)
    root = html_root(outputs["html"])
    headings = [cell.text for cell in root.findall(".//thead/tr/th[@scope='col']")]
    assert headings == ["Metric", "tau = 0.5", "tau = 2", "tau = 8"]
    titles = ["".join(cell.itertext()) for cell in root.findall(".//th[@scope='rowgroup']")]
    assert len(titles) == 8 and all(("users" in title) == title.split(", ")[-2].startswith("test") for title in titles)
    return records(outputs["csv"]), ranks


def test_every_number(tmp_path: Path) -> None:
    rows, ranks = make(tmp_path)
    assert len(rows) == 2 * 2 * 2 * len(REPORTED) * len(RUNS)
    for row in rows:
        assert float(row["value"]) == VALUES.root[row["run"]]
        assert row["seeds"] == str(len(SEEDS[row["run"]]))
        if row["split"] == "valid":
            seeds = SEEDS[row["run"]]
            mean = 0.1 * (RUNS.index(row["run"]) + 1) + 0.01 * sum(seeds) / len(seeds)
            mean += 0.001 * (row["history"] == "masked")
            assert float(row["mean"]) == pytest.approx(mean, abs=1e-6)
            assert row["std"] == ("" if len(seeds) == 1 else "0.010000"), "0, 0.01 and 0.02"
            assert row["ci_low"] == row["ci_high"] == row["p_value"] == ""
            continue
        means = seed_means(row["metric"], under(row["history"], ranks[row["dataset"]][row["run"]]))
        assert float(row["mean"]) == pytest.approx(sum(means) / len(means), abs=1e-6)
        assert float(row["ci_low"]) <= float(row["mean"]) <= float(row["ci_high"])
        assert (row["p_value"] == "") == (row["run"] == "decorec")


def test_alpha_0_is_not_called_intra(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    outputs = outputs_of(tmp_path, "alpha")
    values = RunValues({"my-run": 0.0, "sasrec": 0.5, "decorec": 1.0})
    given: dict[str, Any] = {"ranks": files, "metrics": metrics(files), "values": values, "reference": "decorec"}
    sensitivity_table(knob="alpha", **given, evaluate=EVALUATE, **outputs)
    assert "alpha = 0 is not the variant without retrieval across modalities (model.cross: false)" in (
        outputs["md"].read_text()
    )


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(DecorecError, match=r"--knob.*alpha, tau, clusters.*'beta'"):
        make(tmp_path, knob="beta")
    files, _ = fabricate(tmp_path)
    given = metrics(files)
    with pytest.raises(DecorecError, match="of every run on shop"):
        make(tmp_path, metrics=[file for file in given if "shop/runs/sasrec" not in file.as_posix()])
    write_json(given[2], {"valid": {"kept": {"Hit@10": None}}})
    (tmp_path / "broken").mkdir()
    with pytest.raises(DecorecError, match=r"seed-\d/metrics\.json: expected a number at valid\.kept\.Hit@10"):
        sensitivity_table(
            knob="tau",
            ranks=files,
            metrics=given,
            values=VALUES,
            reference="decorec",
            evaluate=EVALUATE,
            **outputs_of(tmp_path / "broken", "tau"),
        )
    assert not list((tmp_path / "broken").iterdir())
