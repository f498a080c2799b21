"""Figures from tidy tables: complete, well-formed, the same bytes again."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import polars as pl
import pytest

from decorec.artifacts.files import write_csv
from decorec.config.tables import KNOBS
from decorec.errors import DecorecError
from decorec.figures.drawings import _leading as leading
from decorec.figures.drawings import _reference as reference
from decorec.figures.panels import COLOURS
from decorec.figures.registry import FIGURES
from decorec.figures.step import figure
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


def sensitivity(datasets: tuple[str, ...]) -> pl.DataFrame:
    """The run at 2 is the reference: the only one without a p on test."""
    rows = []
    for dataset in datasets:
        for metric in ("Hit@10", "NDCG@10"):
            for value, run in ((0.5, "low"), (2.0, "decorec"), (8.0, "high")):
                names = {"dataset": dataset, "metric": metric, "value": value, "run": run}
                p = None if run == "decorec" else 0.5
                nothing = {"ci_low": None, "ci_high": None, "p_value": None}
                rows.append({"split": "valid", **names, **MEASURED, **nothing})
                rows.append({"split": "test", **names, **MEASURED, "p_value": p})
    return pl.DataFrame(rows)


def gradients(datasets: tuple[str, ...]) -> pl.DataFrame:
    """The first ten steps, then every fifth; one cosine was not to be had."""
    steps = [*range(10), 10, 15, 20]
    cosine = [None, *(math.cos(step) for step in steps[1:])]
    measured = pl.DataFrame({"step": steps, "cosine": cosine, "cosine_apart": 0.1, "id_norm": 2.0, "modal_norm": 0.5})
    named = [measured.with_columns(dataset=pl.lit(name), run=pl.lit("naive"), seed=0, epoch=0) for name in datasets]
    return pl.concat(named)


def embedding(datasets: tuple[str, ...]) -> pl.DataFrame:
    """Twenty items in ten interests of two: more than there are colours."""
    items = range(20)
    place = {"item": items, "interest": [item % 10 for item in items], "size": 2, "x": items, "y": [-i for i in items]}
    frames = []
    for dataset in datasets:
        for run, silhouette in (("no-cluster", None), ("decorec", 0.25)):
            names = {"dataset": pl.lit(dataset), "run": pl.lit(run), "silhouette": pl.lit(silhouette, dtype=pl.Float64)}
            frames.append(pl.DataFrame(place, strict=False).with_columns(**names))
    return pl.concat(frames)


def tables(folder: Path, datasets: tuple[str, ...] = DATASETS) -> dict[str, Path]:
    """Made-up tables of every kind, with a data set and run names that want escaping."""
    metrics = ("Hit@10", "NDCG@10", "MRR@10")
    runs = ("decorec", "sasrec", "my-run")
    rows = [{"dataset": d, "metric": m, "model": r, **MEASURED} for d in datasets for m in metrics for r in runs]
    modes = [("decorec", mode) for mode in ("image", "text", "intra", "cross")] + [("text-only", "text")]
    modes += [("no-cross", mode) for mode in ("image", "text", "intra")]
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
                {**row, "group": group, **dict.fromkeys(("difference", "improvement_percent"), gain)}
                for row in rows
                for gain in (None if row["model"] == "sasrec" else 3.0,)
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
    frames |= {knob: sensitivity(datasets) for knob in KNOBS}
    frames["gradients"] = gradients(datasets)
    frames["embedding"] = embedding(datasets)
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
        write_csv(files[name], frame)
    assert b"shop" in draw("fig2", files, tmp_path)[0]
    assert b"shop" in draw("pareto", files, tmp_path)[0]


def test_gains_that_were_not_measured_are_said_to_be_missing(tmp_path: Path) -> None:
    files = tables(tmp_path)
    nothing = pl.lit(None, dtype=pl.Float64)
    frame = pl.read_csv(files["coldstart"]).with_columns(improvement_percent=nothing)
    write_csv(files["coldstart"], frame)
    svg = draw("fig9", files, tmp_path)[0]
    assert b"the baseline has 0 here" in svg and b"improvement over SASRec" in svg, "no share of 0"
    write_csv(files["coldstart"], frame.with_columns(difference=nothing))
    assert b"the baseline was not run" in draw("fig9", files, tmp_path)[0]


def test_a_run_is_drawn_by_its_time_if_all_of_its_trainings_were_measured(tmp_path: Path) -> None:
    files = tables(tmp_path, ("shop",))
    whole = draw("pareto", files, tmp_path)[0]
    step = pl.col("step") == "stage1"
    write_csv(files["cost"], pl.read_csv(files["cost"]).with_columns(seconds=pl.when(~step).then("seconds")))
    partly = draw("pareto", files, tmp_path)[0]
    filled = [f'style="fill: {colour}; stroke'.encode() for colour in COLOURS[:2]]
    marks = [[svg.count(style) for svg in (whole, partly)] for style in filled]
    assert marks == [[2, 1], [2, 2]], "decorec stands in the legend alone"


def circles(svg: bytes, colour: str) -> int:
    """Markers of one colour that stand within the axes."""
    return len(re.findall(rf"<use [^>]*style=\"fill: {colour}\"", svg.decode()))


def test_items_of_the_largest_interests_are_coloured_and_the_others_grey(tmp_path: Path) -> None:
    svg = draw("fig6", tables(tmp_path, ("shop",)), tmp_path)[0]
    assert [circles(svg, colour) for colour in COLOURS[:7]] == [4] * 6 + [0]
    assert circles(svg, "#cccccc") == 2 * (20 - 6 * 2)
    text = " ".join(ElementTree.fromstring(svg).itertext())
    assert "silhouette of the interests 0.250" in text
    assert text.count("silhouette") == 1, "none where it could not be had"


def test_the_run_that_is_trained_for_intra_stands_beside_the_modes_of_the_full_model(tmp_path: Path) -> None:
    svg = draw("fig7", tables(tmp_path, ("shop",)), tmp_path)[0]
    shown = [text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip()]
    names = ("image", "text", "intra", "cross", "no-cross: intra")
    assert [text for text in shown if text in names] == [*names, *names], "once for each metric"
    assert not [text for text in shown if "text-only" in text or text == "no-cross: text"]


def test_the_first_steps_are_drawn_by_themselves() -> None:
    assert leading([*range(10), 10, 15, 20]) == 11
    assert leading([0, 1, 2]) == 3
    assert leading([5, 6]) == 0


def test_the_ring_is_around_the_reference(tmp_path: Path) -> None:
    frame = sensitivity(("shop",))
    assert reference(frame) == ["decorec"]
    for knob in KNOBS:
        svg = draw(knob, tables(tmp_path), tmp_path)[0].decode()
        text = " ".join(ElementTree.fromstring(svg).itertext())
        assert "validation" in text and "test" in text
        assert all(f"{value:g}" in text for value in (0.5, 2, 8))


def test_every_figure_is_defined_in_the_docs() -> None:
    defined = (Path(__file__).parents[2] / "docs/reference/tables.md").read_text().partition("\n## Figures\n")[2]
    defined = defined.partition("\n## ")[0]
    rows = [line.split("|") for line in defined.splitlines() if line.startswith("| `")]
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    assert names == set(FIGURES)
    assert all(len(row) == 6 and all(cell.strip() for cell in row[1:5]) for row in rows), "split and seeds are said"


def test_unknown_figures_and_missing_tables_are_named(tmp_path: Path) -> None:
    outputs = {kind: tmp_path / f"x.{kind}" for kind in ("svg", "pdf")}
    with pytest.raises(DecorecError, match="'fig99'"):
        figure(name="fig99", tables=[], **outputs)
    with pytest.raises(DecorecError, match=r"cost\.csv"):
        figure(name="pareto", tables=[tables(tmp_path)["main"]], **outputs)
