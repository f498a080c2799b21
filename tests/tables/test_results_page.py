"""The page of results: both cut-offs, the paper, the released code and the protocol."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from decorec.artifacts.files import write_csv
from decorec.cli import main
from decorec.config import load
from decorec.errors import DecorecError
from decorec.evaluation.metrics import REPORTED
from decorec.evaluation.significance import holm, paired_test
from decorec.steps import step_function
from decorec.tables.advantages import ModelNames, advantages_table
from decorec.tables.collect import Block
from decorec.tables.labels import LABELS, PaperNames, label, note
from decorec.tables.results_page import ChosenValues, results_page, standard_errors
from decorec.tables.summary import Summary
from tests.support.fabricated_ranks import (
    EVALUATE,
    HISTORIES,
    KINDS,
    NAMES,
    RUNS,
    SEEDS,
    USERS,
    fabricate,
    main_table,
    make,
    outputs_of,
    records,
    seed_means,
    statistics_file,
    under,
    user_means,
)


def beyond_file(folder: Path, runs: list[str] = RUNS) -> Path:
    """A table of what is recommended, with a value of its own in every cell; the masked history has one metric less."""
    metrics = {"kept": ("Coverage@10", "PopularityShare@10", "Repeats@10"), "masked": ("Coverage@10", "Novelty@10")}
    rows = [
        {"dataset": dataset, "history": history, "metric": metric, "model": run}
        for dataset in ("scientific", "shop")
        for history, names in metrics.items()
        for metric in names
        for run in runs
    ]
    write_csv(folder / "beyond.csv", pl.DataFrame(rows).with_columns(mean=pl.int_range(pl.len()) / 1000 + 0.00012345))
    return folder / "beyond.csv"


def test_results_page_shows_what_is_recommended(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    section = page(files, tmp_path).split("## shop\n")[1]
    kept, masked = (table_after(section, f"### Beyond accuracy, history {history}") for history in HISTORIES)
    assert kept == [
        ["run", "Coverage@10", "PopularityShare@10", "Repeats@10"],
        [label("decorec"), "0.0151", "0.018123", "0.0211"],
        [label("sasrec"), "0.0161", "0.019123", "0.0221"],
        [label("my-run"), "0.0171", "0.020123", "0.0231"],
    ]
    assert masked[0] == ["run", "Coverage@10", "Novelty@10"]
    with pytest.raises(DecorecError, match=r"--beyond: expected the runs .*, found none of the rows of 'my-run'"):
        page(files, tmp_path, beyond=beyond_file(tmp_path / "other", RUNS[:2]))


def test_results_page_begins_with_who_is_ahead_of_whom(tmp_path: Path) -> None:
    files, ranks = fabricate(tmp_path)
    top = page(files, tmp_path, references=["decorec", "my-run"]).split("## In short\n")[1].split("\n## ")[0]
    kept, masked = (
        next(line for line in top.splitlines() if line.startswith(f"**shop, history {history}:**"))
        for history in HISTORIES
    )
    for told, history in ((kept, "kept"), (masked, "masked")):
        values = {run: np.array(user_means("NDCG@10", under(history, ranks["shop"][run]))) for run in RUNS}
        order = sorted(RUNS, key=lambda run: -values[run].mean())
        first, second = (f"{label(run)} {values[run].mean():.4f}" for run in order[:2])
        assert f"by NDCG@10, {first} is the first of 3, before {second}." in told
        for reference in ("decorec", "my-run"):
            gaps = {run: values[reference] - values[run] for run in RUNS if run != reference}
            told_apart = holm([float(paired_test(gap[:, None])[0]) for gap in gaps.values()]) < 0.05
            sure = {run for run, yes in zip(gaps, told_apart, strict=True) if yes}
            groups = (
                [run for run in gaps if run in sure and gaps[run].mean() > 0],
                [run for run in gaps if run in sure and gaps[run].mean() < 0],
                [run for run in gaps if run not in sure],
            )
            ahead, behind, near = (
                f"{len(runs)}" + (f" ({', '.join(map(label, runs))})" if runs else "") for runs in groups
            )
            said = f"is ahead of {ahead} of the others, behind {behind}, and not to be told from {near} (p <"
            assert f"number {order.index(reference) + 1}) {said}" in told


def test_results_page_says_what_is_left_of_a_lead_where_all_models_have_the_same(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    models = ModelNames({"decorec": "decorec", "my-run": "decorec", "sasrec": "sasrec"})
    outputs = outputs_of(tmp_path, "advantages")
    advantages_table(ranks=files, models=models, evaluate=EVALUATE, **outputs)
    text = page(files, tmp_path, advantages=[outputs["csv"]])
    rows = {(r["dataset"], r["history"], r["metric"], r["run"]): r for r in records(outputs["csv"])}
    for history in HISTORIES:
        own, every, other = (rows["shop", history, "NDCG@10", run] for run in models.root)
        told = next(line for line in text.splitlines() if line.startswith(f"**shop, history {history}, every model"))
        better, worse = sorted((every, other), key=lambda row: -float(row["mean"]))
        first, second = (f"{label(row['run'])} {float(row['mean']):.4f}" for row in (better, worse))
        assert f"{first} is the first of 2, before {second}." in told
        assert f"are worth {float(every['difference']):+.4f} to {float(every['difference']):+.4f}." in told
        near = float(other["lead_p_value"]) >= 0.05
        assert f"{label('my-run')} is ahead of " in told
        assert (f"not to be told from 1 ({label('sasrec')})" in told) == near
        table = table_after(
            text.split("## shop\n")[1], f"### What each model gains from the same additions, history {history}"
        )
        assert [line[:4] for line in table[1:]] == [
            [
                label(row["run"]),
                row["seeds"],
                *(
                    f"{float(rows['shop', history, metric, row['run']]['mean']):.4f}"
                    for metric in ("Hit@10", "NDCG@10")
                ),
            ]
            for row in (own, every, other)
        ]
        assert table[1][4:] == ["", ""] and table[2][5] == table[3][4] == ""
        assert table[2][4].startswith(f"{float(every['difference']):+.4f} (")
        assert table[3][5].startswith(f"{float(other['lead']):+.4f} (")
    assert "every model with what" not in page(files, tmp_path)


def page(files: list[Path], tmp_path: Path, **changes: Any) -> str:
    statistics = [statistics_file(tmp_path / "results" / name, USERS, 90, 300) for name in ("scientific", "shop")]
    arguments = {"ranks": files, "runs": RUNS, "references": ["decorec"], "evaluate": EVALUATE, "paper": NAMES}
    arguments |= {"chosen": ChosenValues({}), "beyond": beyond_file(tmp_path), "advantages": []}
    results_page(**(arguments | changes), statistics=statistics, output=tmp_path / "results.md")
    return (tmp_path / "results.md").read_text(encoding="utf-8")


def table_after(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table after ``heading``, without its rule."""
    lines = text.split(heading, 1)[1].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    end = next(
        index for index in range(start, len(lines) + 1) if index == len(lines) or not lines[index].startswith("|")
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end]]
    assert len({len(row) for row in rows}) == 1
    return [rows[0], *rows[2:]]


def test_results_page_has_both_cut_offs_and_the_paper(tmp_path: Path) -> None:
    files, ranks = fabricate(tmp_path)
    text = page(files, tmp_path)
    section = text.split("## scientific\n")[1].split("\n## ")[0]
    true, without = (table_after(section, f"### True cut-offs, history {history}") for history in HISTORIES)
    assert true[0] == without[0] == ["run", "seeds", *REPORTED]
    compatible = table_after(section, "### At the cut-offs of the paper")
    assert compatible[0] == ["run", "seeds", "Hit@11", "Hit@51", "NDCG@11", "NDCG@51", "MRR@11", "MRR@51"]
    ours = [row for row in compatible if not row[0].startswith("the paper")]
    for table, history in ((true, "kept"), (without, "masked"), (ours, "kept")):
        for run, row in zip(RUNS, table[1:], strict=True):
            assert row[:2] == [label(run), str(len(SEEDS[run]))]
            for metric, cell in zip(table[0][2:], row[2:], strict=True):
                means = seed_means(metric, under(history, ranks["scientific"][run]))
                spread = f" ± {np.std(means, ddof=1):.4f}" if len(means) > 1 else ""
                assert cell == f"{np.mean(means):.4f}{spread}"
    printed = [row[2:] for row in compatible if row[0] == "the paper, decorec"]
    assert printed == [["0.1779", "0.3559", "0.0897", "0.1292", "", ""]]
    assert "### At the cut-offs of the paper" not in text.split("## shop\n")[1].split("\n## ")[0]


def test_results_page_shows_the_values_chosen_on_a_data_set(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    train = {"learning_rate": 0.0003, "restart": False, "clip": None}
    values = {"decorec": {"model": {"encoder": {"positions": "none"}}, "train": train}}
    text = page(files, tmp_path, chosen=ChosenValues.model_validate({"scientific": values}))
    assert text.startswith("# Results on scientific, shop\n")
    listed = text.split("## scientific\n")[1].split("Values chosen on validation")[1].splitlines()
    assert listed[2] == (
        f"- {label('decorec')}: `model.encoder.positions: none`, `train.learning_rate: 0.0003`, "
        "`train.restart: false`, `train.clip: null`"
    )
    assert "No values were chosen" in text.split("## shop\n")[1]


def test_results_page_compares_with_the_released_code(tmp_path: Path) -> None:
    files, ranks = fabricate(tmp_path)
    text = page(files, tmp_path)
    table = table_after(text, "### Against the authors' released code")
    assert table[0][1:3] == ["released code (3 seeds)", "DeCoRec (as described) (3 seeds)"]
    row = next(row for row in table if row[0] == "NDCG@10")
    means = seed_means("NDCG@10", ranks["scientific"]["decorec"])
    difference = np.mean(means) - 0.0861
    error = math.sqrt(np.var(means, ddof=1) / 3 + 0.0011**2 / 3)
    assert row[1] == "0.0861 ± 0.0011"
    assert row[3:] == [f"{difference:+.4f}", f"{difference / error:+.1f}"]
    assert next(row for row in table if row[0] == "MRR@10")[-1] == "", "no deviation recorded"


def test_results_page_shows_the_same_intervals_and_tests_as_the_csv(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    section = page(files, tmp_path).split("## shop\n")[1]
    every = [row for row in records(make(main_table, files, tmp_path)[0]) if row["dataset"] == "shop"]
    for history in HISTORIES:
        part = section.split(f"### True cut-offs, history {history}")[1]
        spans = table_after(part, "Intervals over users:")
        differences = table_after(section, f"### {label('decorec')} minus each other run, history {history}")
        assert [row[0] for row in differences[1:]] == [label(run) for run in RUNS if run != "decorec"]
        assert_as_in_the_csv([row for row in every if row["history"] == history], spans, differences)


def assert_as_in_the_csv(rows: list[dict[str, str]], spans: list[list[str]], differences: list[list[str]]) -> None:
    means = {(row["model"], row["metric"]): float(row["mean"]) for row in rows}
    for row in rows:
        column = REPORTED.index(row["metric"])
        cell = spans[1 + RUNS.index(row["model"])][2 + column]
        assert cell == f"{float(row['ci_low']):.4f} to {float(row['ci_high']):.4f}"
        if row["p_value"]:
            found = next(line for line in differences if line[0] == label(row["model"]))[1 + column]
            assert f"p = {float(row['p_value']):.4f}" in found
            expected = means["decorec", row["metric"]] - means[row["model"], row["metric"]]
            assert float(found.split(" ")[0]) == pytest.approx(expected, abs=6e-5)
            low, high = (float(word.strip("(;")) for word in (found.split(" ")[1], found.split(" ")[3]))
            assert low <= float(found.split(" ")[0]) <= high


def test_results_page_compares_every_reference_with_all_others(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    section = page(files, tmp_path, references=["decorec", RUNS[1]]).split("## shop\n")[1]
    one, two = (table_after(section, f"### {label(run)} minus each other run") for run in ("decorec", RUNS[1]))
    forward = next(row for row in one if row[0] == label(RUNS[1]))[1]
    backward = next(row for row in two if row[0] == label("decorec"))[1]
    assert float(forward.split(" ")[0]) == -float(backward.split(" ")[0])
    with pytest.raises(DecorecError, match=r"--references.*tables\.variants"):
        page(files, tmp_path, references=["decorec", "absent"])


def test_results_page_says_what_the_rows_are(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    remarks = [LABELS[run].paper_note for run in RUNS if run in LABELS]
    assert len(remarks) == 2 and all(remarks)
    section = page(files, tmp_path).split("## What the rows are\n")[1].split("\n## ")[0]
    noted = [line for line in section.splitlines() if line]
    assert noted == [f"- **{label(run)}.** {note(run, True)}" for run in RUNS if run in LABELS]
    assert all(remark in section for remark in remarks)
    files = [file for file in files if "/shop/" in file.as_posix()]
    for names in ({"shop": None}, {}):
        text = page(files, tmp_path, paper=PaperNames(names))
        assert not any(remark in text for remark in remarks), "the paper has no row of this data set"
        section = text.split("## What the rows are\n")[1].split("\n## ")[0]
        assert LABELS["sasrec"].note in section
    assert note("my-run", True) == note("popularity", True) == ""


def test_labels_hold_no_measured_result() -> None:
    for entry in LABELS.values():
        for text in (entry.text, entry.paper, entry.note, entry.paper_note, entry.short):
            assert not re.search(r"%|\bper cent\b|\bpercent", text, re.IGNORECASE)
            assert not re.search(r"\b(better|worse|weaker|gain|noise|above|below)", text, re.IGNORECASE), text


def test_values_in_a_label_are_those_of_the_run_on_every_data_set() -> None:
    """The sample shop has narrower models than others, and the configuration chooses the encoder."""
    for entry in LABELS.values():
        assert "CLIP" not in entry.text
        assert not re.search(r"\bwidth \d", entry.note, re.IGNORECASE), entry.note
    config = load(yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text()))
    for dataset in (None, *config.tuned):
        run = config.run("decorec-plus", dataset)
        assert run.experts.floor is not None and run.experts.floor.name == "content-ease"
        assert f"exp({run.experts.weight:g} z)" in LABELS["decorec-plus"].note
        assert f"1 + {run.experts.neighbourhood:g} q" in LABELS["decorec-plus"].note
        assert run.train.stage(run.stages[-1]).horizon == 3 and "the next three items" in LABELS["decorec-plus"].note


def test_results_page_states_the_protocol_in_force(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    text = page(files, tmp_path)
    assert "kept among the candidates, as in the paper, and with them masked" in text
    assert "90% percentile bootstrap" in text
    assert "200 resamples" in text


def test_standard_errors_need_deviations() -> None:
    row = Summary(Block("d", "kept"), "Hit@10", "r", 0.5, 0.03, 9, 0.4, 0.6, None, 30)
    assert standard_errors(row, 0.46, 0.0, 3) == pytest.approx(4.0)
    assert standard_errors(row, 0.46, None, 3) is None
    single = Summary(Block("d", "kept"), "Hit@10", "r", 0.5, None, 1, 0.4, 0.6, None, 30)
    assert standard_errors(single, 0.46, 0.01, 3) is None


def test_steps_run_from_the_command_line(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    statistics = [statistics_file(tmp_path / "results" / name, USERS, 90, 300) for name in ("scientific", "shop")]
    common = ["--runs", *RUNS, "--evaluate", '{"bootstrap": 200, "level": 0.9}']
    reference = ["--reference", "decorec"]
    names = ["--paper", '{"scientific": "Scientific", "shop": null}']
    ranks = ["--ranks", *map(str, files)]
    outputs = [flag for kind in KINDS for flag in (f"--{kind}", str(tmp_path / f"cli.{kind}"))]
    main(["comparison-table", "--kind", "main", *ranks, *common, *reference, *names, *outputs])
    assert (tmp_path / "cli.csv").read_bytes() == make(main_table, files, tmp_path)[0].read_bytes()
    main(["comparison-table", "--kind", "ablations", *ranks, *common, *reference, *names, *outputs])
    assert "variant" in (tmp_path / "cli.csv").read_text()
    shown = ["--statistics", *map(str, statistics)]
    main(["statistics-table", *shown, *names, *outputs])
    assert (tmp_path / "cli.csv").read_text().startswith("dataset,users,items,interactions,")
    page_flags = ["--references", "decorec", "--chosen", "{}", "--output", str(tmp_path / "cli.md")]
    shown += ["--beyond", str(beyond_file(tmp_path)), "--advantages"]
    main(["results-page", *ranks, *shown, *common, *names, *page_flags])
    assert (tmp_path / "cli.md").read_text(encoding="utf-8") == page(files, tmp_path)
    assert step_function("results-page") is results_page
