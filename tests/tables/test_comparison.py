"""Tables of runs: every figure recomputed by hand from made-up ranks, and the form of the four files."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from decorec.config.evaluation import EvaluateConfig
from decorec.evaluation import significance
from decorec.evaluation.metrics import REPORTED
from decorec.tables import summary
from decorec.tables.labels import label
from decorec.tables.paper import paper_figure
from decorec.tables.render import Cell, Group, Table, emphasise, percent, write
from decorec.tables.summary import summarise
from tests.support.fabricated_ranks import (
    EVALUATE,
    HISTORIES,
    NAMES,
    RUNS,
    SEEDS,
    USERS,
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    fabricate,
    html_root,
    main_table,
    make,
    outputs_of,
    records,
    seed_means,
    under,
    user_means,
    write_ranks,
)


def test_every_number_of_the_main_table(tmp_path: Path) -> None:
    files, ranks = fabricate(tmp_path)
    rows = records(make(main_table, files, tmp_path)[0])
    header = "dataset,history,metric,model,mean,std,seeds,ci_low,ci_high,paper,p_value"
    assert (tmp_path / "table.csv").read_text().splitlines()[0] == header
    keys = [(row["dataset"], row["history"], row["metric"], row["model"]) for row in rows]
    assert keys == [*product(("scientific", "shop"), HISTORIES, REPORTED, RUNS)]
    for row in rows:
        dataset, metric, run = row["dataset"], row["metric"], row["model"]
        means = seed_means(metric, under(row["history"], ranks[dataset][run]))
        assert row["mean"] == f"{sum(means) / len(means):.6f}"
        assert row["seeds"] == str(len(SEEDS[run]))
        if len(means) == 1:
            assert row["std"] == ""
        else:
            centre = sum(means) / len(means)
            spread = math.sqrt(sum((mean - centre) ** 2 for mean in means) / (len(means) - 1))
            assert row["std"] == f"{spread:.6f}"
        printed = {"decorec": "decorec", "sasrec": "sasrec"}.get(run)
        figure = paper_figure("main", NAMES.of(dataset), printed or "", metric)
        assert row["paper"] == ("" if figure is None or row["history"] == "masked" else f"{figure:.6f}")
    assert {row["paper"] for row in rows if row["dataset"] == "shop"} == {""}
    assert rows[0]["paper"] == "0.177900"


def test_many_users_get_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their metrics are looked at one after another, and their intervals and tests drawn otherwise."""
    files, _ = fabricate(tmp_path)
    evaluate = EvaluateConfig(bootstrap=4_000)
    usual = summarise(files, RUNS, "decorec", evaluate)
    for module in (significance, summary):
        monkeypatch.setattr(module, "MANY", USERS - 1)
    for found, expected in zip(summarise(files, RUNS, "decorec", evaluate), usual, strict=True):
        assert (found.block, found.metric, found.run) == (expected.block, expected.metric, expected.run)
        assert (found.seeds, found.users, found.mean) == pytest.approx((expected.seeds, USERS, expected.mean))
        assert found.std == (None if expected.std is None else pytest.approx(expected.std, abs=1e-12))
        assert (found.ci_low, found.ci_high) == pytest.approx((expected.ci_low, expected.ci_high), abs=1.1 / USERS)
        assert found.p_value == (None if expected.p_value is None else pytest.approx(expected.p_value, abs=0.03))


def test_intervals_and_tests_of_the_main_table(tmp_path: Path) -> None:
    files, ranks = fabricate(tmp_path)
    for row in records(make(main_table, files, tmp_path)[0]):
        seeds = {run: under(row["history"], found) for run, found in ranks[row["dataset"]].items()}
        values = np.array(user_means(row["metric"], seeds[row["model"]]))
        generator = np.random.default_rng(0)
        resampled = [values[generator.integers(0, USERS, size=USERS)].mean() for _ in range(200)]
        assert float(row["ci_low"]) == pytest.approx(np.quantile(resampled, 0.05), abs=1.1e-6)
        assert float(row["ci_high"]) == pytest.approx(np.quantile(resampled, 0.95), abs=1.1e-6)
        if row["model"] == "decorec":
            assert row["p_value"] == ""
            continue
        differences = np.array(user_means(row["metric"], seeds["decorec"])) - values
        signs = np.random.default_rng(99).choice([-1.0, 1.0], size=(20_000, USERS))
        expected = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
        assert float(row["p_value"]) == pytest.approx(expected, abs=0.03)


def test_the_order_of_rows_follows_runs_not_files(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    first = [path.read_bytes() for path in make(main_table, files, tmp_path)]
    shuffled = sorted(files, key=lambda file: ("/shop/" in file.as_posix(), file.as_posix()[::-1]))
    assert shuffled != files
    assert [path.read_bytes() for path in make(main_table, shuffled, tmp_path / "again")] == first
    turned = records(make(main_table, files, tmp_path, runs=RUNS[::-1])[0])
    assert [row["model"] for row in turned[:3]] == RUNS[::-1]


def test_ablations_have_variants_and_their_own_figures(tmp_path: Path) -> None:
    runs = ["decorec", "no-cluster", "my-run"]
    files = []
    for run in runs:
        file = tmp_path / "scientific" / "runs" / run / "seed-0" / "ranks.parquet"
        files.append(write_ranks(file, np.stack([np.arange(20), np.zeros(20)], 1)))
    rows = records(make(main_table, files, tmp_path, kind="ablations", runs=runs)[0])
    assert ",".join(rows[0]) == "dataset,history,metric,variant,mean,std,seeds,ci_low,ci_high,paper,p_value"
    assert [row["variant"] for row in rows[:3]] == runs
    assert [row["paper"] for row in rows[:3]] == ["0.177900", "0.176200", ""]
    none = [row for row in rows if row["metric"] == "Hit@50" or row["history"] == "masked"]
    assert {row["paper"] for row in none} == {""}, "the paper's ablations stop at 10, and keep the history"
    assert {row["p_value"] for row in rows if row["variant"] != "decorec"} == {"1.000000"}, "equal ranks"


def test_tex_is_balanced_and_marks_best_and_second(tmp_path: Path) -> None:
    files, ranks = fabricate(tmp_path)
    text = make(main_table, files, tmp_path)[1].read_text()
    assert_tex_is_well_formed(text, columns=7)
    for dataset, history in product(("scientific", "shop"), HISTORIES):
        block = text.split(rf"\emph{{{dataset}, 30 users, history {history}}}")[1]
        lines = [line.split(" & ")[1:] for line in block.splitlines() if " & " in line][: len(RUNS)]
        for column, metric in zip(zip(*lines, strict=True), REPORTED, strict=True):
            means = [np.mean(seed_means(metric, under(history, ranks[dataset][run]))) for run in RUNS]
            order = np.argsort(means)[::-1]
            assert sum(r"\textbf{" in cell for cell in column) == sum(r"\underline{" in cell for cell in column) == 1
            assert rf"\textbf{{{means[order[0]]:.4f}}}" in column[order[0]]
            assert rf"\underline{{{means[order[1]]:.4f}}}" in column[order[1]]
    assert r"Model & Hit@10 & Hit@50 & NDCG@10" in text and "\nSASRec (full cross-entropy), seeds: 3 & " in text


def test_html_is_well_formed_and_labelled(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    output = make(main_table, files, tmp_path)
    root = html_root(output[2])
    assert root.get("lang") == "en"
    assert root.findtext(".//caption/span") == "Comparison of models on the test targets"
    headings = [cell.text for cell in root.findall(".//thead/tr/th[@scope='col']")]
    assert headings == ["Model", *REPORTED]
    rows = root.findall(".//tbody/tr/th[@scope='row']/..")
    names = [f"{label(run)}, seeds: {len(SEEDS[run])}" for run in RUNS]
    assert [row.findtext("th") for row in rows] == names * 4
    blocks = [rows[start : start + len(RUNS)] for start in range(0, len(rows), len(RUNS))]
    printed = [zip(*(row.findall("td") for row in block), strict=True) for block in blocks]
    cells = ["".join(cell.itertext()) for block in printed for column in block for cell in column]
    for cell, row in zip(cells, records(output[0]), strict=True):
        spread = f" ± {float(row['std']):.4f}" if row["std"] else ""
        test = f", p = {float(row['p_value']):.4f}" if row["p_value"] else ""
        interval = f"[{float(row['ci_low']):.4f}, {float(row['ci_high']):.4f}]"
        assert cell == f"{float(row['mean']):.4f}{spread}{interval}{test}"
    assert_md_says_what_html_says(output[3], output[2])


def test_text_is_escaped(tmp_path: Path) -> None:
    text = r"<script>&'\"{x}_%$#~^\&"
    table = Table(
        records=pl.DataFrame({"a": [text]}),
        caption=text,
        columns=["a", text],
        groups=[Group(text, [(text, [Cell(text, "best", text, text)])])],
        notes=[text],
    )
    files = tuple(outputs_of(tmp_path, "a").values())
    write(table, *files)
    assert_tex_is_well_formed(files[1].read_text(), columns=2)
    root = html_root(files[2])
    assert root.find(".//script") is None
    assert root.findtext(".//caption/span") == root.findtext(".//strong") == root.findtext(".//li") == text
    assert records(files[0]) == [{"a": text}]
    assert_md_says_what_html_says(files[3], files[2])


def test_a_level_is_printed_with_all_its_digits() -> None:
    assert [percent(share) for share in (0.95, 0.975, 0.995, 0.57)] == ["95%", "97.5%", "99.5%", "57%"]


def test_emphasis_is_of_what_is_printed() -> None:
    assert emphasise(["0.1", "0.3", "0.2"]) == ["", "best", "second"]
    assert emphasise(["0.3000", "0.3000", "0.2000", "0.1000"]) == ["best", "best", "second", ""]
    assert emphasise(["0.1", "0.1"]) == ["best", "best"]
    assert emphasise(["0.1"]) == [""]


def test_files_are_the_same_bytes_again(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    first = [path.read_bytes() for path in make(main_table, files, tmp_path / "one")]
    again = [path.read_bytes() for path in make(main_table, files, tmp_path / "two")]
    assert first == again


def test_summaries_know_their_users(tmp_path: Path) -> None:
    files, _ = fabricate(tmp_path)
    assert {row.users for row in summarise(files, RUNS, "sasrec", EVALUATE, ("Hit@10",))} == {USERS}
