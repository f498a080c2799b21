"""Figures from tidy tables: complete, well-formed, the same bytes again."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import polars as pl
import pytest

from decorec.errors import DecorecError
from decorec.figures import FIGURES, figure
from decorec.tables.curves import curves_table

DATASETS = ("shop", "other")
MEASURED = {"mean": 0.1, "std": 0.01, "seeds": 2, "ci_low": 0.08, "ci_high": 0.13}


def history(file: Path, values: list[float]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    best = max(range(len(values)), key=values.__getitem__)
    frame = pl.DataFrame({"epoch": range(len(values)), "Hit@10": values, "NDCG@10": values})
    frame.with_columns(best=pl.col("epoch") == best).write_parquet(file)
    return file


def curves(folder: Path) -> Path:
    files = []
    for dataset in DATASETS:
        for run, stage in (("sasrec", "fit"), ("decorec", "stage1")):
            for seed, values in ((0, [0.1, 0.3, 0.2]), (1, [0.2, 0.1])):
                files.append(
                    history(folder / dataset / "runs" / run / f"seed-{seed}" / stage / "history.parquet", values)
                )
    curves_table(histories=files, csv=folder / "curves.csv")
    return folder / "curves.csv"


def tables(folder: Path, datasets: tuple[str, ...] = DATASETS) -> dict[str, Path]:
    """Made-up tables of every kind, with a data set and run names that want escaping."""
    metrics = ("Hit@10", "NDCG@10", "MRR@10")
    runs = ("decorec", "sasrec", "my-run")
    rows = [{"dataset": d, "metric": m, "model": r, **MEASURED} for d in datasets for m in metrics for r in runs]
    modes = [("decorec", mode) for mode in ("image", "text", "intra", "cross")] + [("text-only", "text")]
    frames = {
        "main": pl.DataFrame(rows),
        "fusion": pl.DataFrame(rows),
        "retrieval": pl.DataFrame(
            [
                {"dataset": d, "metric": m, "run": run, "mode": mode, **MEASURED}
                for d in datasets
                for m in metrics
                for run, mode in modes
            ]
        ),
        "coldstart": pl.DataFrame(
            [
                {**row, "group": group, "improvement_percent": None if row["model"] == "sasrec" else 3.0}
                for row in rows
                for group in ("cold", "other")
            ]
        ),
        "cost": pl.DataFrame(
            [
                {"dataset": d, "run": run, "step": step, "seconds": seconds}
                for d in datasets
                for run, step, seconds in (
                    ("decorec", "stage1", 40.0),
                    ("decorec", "stage2", 20.0),
                    ("sasrec", "fit", 30.0),
                    ("my-run", "fit", None),
                )
            ]
        ),
    }
    found = {name: folder / f"{name}.csv" for name in frames}
    for name, frame in frames.items():
        frame.write_csv(found[name])
    return found | {"curves": curves(folder)}


def draw(name: str, files: dict[str, Path], folder: Path) -> tuple[bytes, bytes]:
    outputs = {kind: folder / f"{name}.{kind}" for kind in ("svg", "pdf")}
    figure(name=name, tables=[files[table] for table in FIGURES[name].tables], **outputs)
    return outputs["svg"].read_bytes(), outputs["pdf"].read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_shows_every_data_set_and_is_the_same_bytes_again(name: str, tmp_path: Path) -> None:
    files = tables(tmp_path)
    svg, pdf = draw(name, files, tmp_path)
    text = " ".join(ElementTree.fromstring(svg).itertext())
    assert all(dataset in text for dataset in DATASETS)
    assert pdf.startswith(b"%PDF")
    assert b"metadata" not in svg, "no date"
    assert draw(name, files, tmp_path / "again") == (svg, pdf)


def test_curves_are_means_over_the_seeds_that_reached_an_epoch(tmp_path: Path) -> None:
    rows = pl.read_csv(curves(tmp_path)).filter(dataset="other", run="decorec", metric="NDCG@10")
    assert rows["stage"].to_list() == ["stage1"] * 3
    assert rows["mean"].to_list() == pytest.approx([0.15, 0.2, 0.2])
    assert rows["seeds"].to_list() == [2, 2, 1]
    assert rows["best"].to_list() == [1, 1, 0]


def test_a_single_seed_has_no_deviation(tmp_path: Path) -> None:
    files = tables(tmp_path)
    for name in ("curves", "main"):
        frame = pl.read_csv(files[name]).with_columns(std=pl.lit(None, dtype=pl.Float64))
        frame.write_csv(files[name])
    assert b"shop" in draw("fig2", files, tmp_path)[0]
    assert b"shop" in draw("pareto", files, tmp_path)[0]


def test_gains_that_were_not_measured_are_said_to_be_missing(tmp_path: Path) -> None:
    files = tables(tmp_path)
    frame = pl.read_csv(files["coldstart"]).with_columns(improvement_percent=pl.lit(None, dtype=pl.Float64))
    frame.write_csv(files["coldstart"])
    assert b"the baseline was not run" in draw("fig9", files, tmp_path)[0]


def test_unknown_figures_and_missing_tables_are_named(tmp_path: Path) -> None:
    outputs = {kind: tmp_path / f"x.{kind}" for kind in ("svg", "pdf")}
    with pytest.raises(DecorecError, match="'fig99'"):
        figure(name="fig99", tables=[], **outputs)
    with pytest.raises(DecorecError, match=r"cost\.csv"):
        figure(name="pareto", tables=[tables(tmp_path)["main"]], **outputs)
