"""Made-up ranks, the definitions of the metrics written out once more, and readers of the written tables."""

from __future__ import annotations

import csv
import math
import re
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from decorec.artifacts.files import write_json, write_table
from decorec.config.evaluation import EvaluateConfig
from decorec.tables.comparison import comparison_table
from decorec.tables.labels import PaperNames
from decorec.tables.statistics import statistics_table

RUNS = ["decorec", "sasrec", "my-run"]
SEEDS = {"decorec": (0, 1, 2), "sasrec": (0, 1, 2), "my-run": (4,)}
NAMES = PaperNames({"scientific": "Scientific", "shop": None})
EVALUATE = EvaluateConfig(bootstrap=200, level=0.9)
USERS = 30
KINDS = ("csv", "tex", "html", "md")
"""Endings of the files of a printed table."""
main_table = partial(comparison_table, kind="main")
Ranks = dict[str, dict[str, dict[int, np.ndarray]]]
"""Data set -> run -> seed -> [U, 2] items scored higher than the target, other items scored equal; history kept."""
HISTORIES = ("kept", "masked")


LENGTHS = np.array([3] * 10 + [4] * 5 + [9] * 15)
"""Training interactions: 10 of 30 users have 3, a third; the first 40 % reach into those with 4."""


COLD = np.arange(30) % 5 == 3
"""Users whose target has no training interaction."""
COLD_ITEMS = 60
"""Items without one."""


def among_cold(places: np.ndarray) -> np.ndarray:
    """The counts when a quarter of the items scored higher, and of those scored equal, are cold."""
    return places // 4


def masked(places: np.ndarray) -> np.ndarray:
    """The counts when up to three items scored higher and half of those scored equal are in the user's history."""
    return np.stack([np.maximum(places[:, 0] - 3, 0), places[:, 1] // 2], 1)


def under(history: str, seeds: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The counts of a run with the history kept or masked."""
    return {seed: masked(places) if history == "masked" else places for seed, places in seeds.items()}


def write_ranks(file: Path, places: np.ndarray, users: list[str] | None = None, target: int = 0) -> Path:
    users = users or [f"user {number:02}" for number in range(len(places))]
    file.parent.mkdir(parents=True, exist_ok=True)
    history = (
        np.resize(LENGTHS, len(places)).astype(np.int32) + 1
    )  # the validation item comes before the test item as well
    targets = np.arange(len(places), dtype=np.int32) + target
    columns = {"user": users, "target": targets, "history_length": history, "training_length": history - 1}
    cold = np.resize(COLD, len(places))
    columns["target_count"] = np.where(cold, 0, 7).astype(np.int32)
    for end, counts in (("", places), ("_masked", masked(places))):
        higher, equal = counts.T.astype(np.int32)
        columns |= {f"higher{end}": higher, f"equal{end}": equal}
    for name, counts in zip(("higher_cold", "equal_cold"), among_cold(places).T, strict=True):
        columns[name] = pl.Series(np.where(cold, counts, -1), dtype=pl.Int32).replace(-1, None)
    frame = pl.DataFrame(columns)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=len(file.as_posix()))  # no order of users is promised
    write_table(file, shuffled)
    return file


def fabricate(folder: Path) -> tuple[list[Path], Ranks]:
    """Ranks of three runs on two data sets; a third ties with other items, some stand at the cut-offs."""
    generator = np.random.default_rng(0)
    files, ranks = [], {}
    for dataset in ("scientific", "shop"):
        ranks[dataset] = {run: {} for run in RUNS}
        for run in RUNS:
            for seed in SEEDS[run]:
                scale = 20 if run == "decorec" else 40
                higher = np.floor(generator.exponential(scale, USERS))
                equal = generator.integers(1, 30, USERS) * (generator.random(USERS) < 1 / 3)
                places = np.stack([higher, equal], 1).astype(np.int64)
                places[:4] = [[9, 0], [9, 1], [10, 0], [50, 0]]
                ranks[dataset][run][seed] = places
                file = folder / "results" / dataset / "runs" / run / f"seed-{seed}" / "ranks.parquet"
                files.append(write_ranks(file, places))
    return files, ranks


def outputs_of(folder: Path, name: str) -> dict[str, Path]:
    """The files of a printed table, by the arguments of its step."""
    return {kind: folder / f"{name}.{kind}" for kind in KINDS}


def make(step: Any, files: list[Path], folder: Path, **changes: Any) -> tuple[Path, ...]:
    """Make a table of runs; returns its csv, tex, html and md."""
    outputs = outputs_of(folder, "table")
    arguments = {"ranks": files, "runs": RUNS, "reference": "decorec", "evaluate": EVALUATE, "paper": NAMES}
    step(**(arguments | changes), **outputs)
    return tuple(outputs.values())


def records(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def user_value(metric: str, places: np.ndarray) -> float:
    """The definitions, written out once more, plainly: the mean over the places of a tie."""
    name, cutoff = metric.split("@")
    higher, equal = map(int, places)
    total = 0.0
    for rank in range(higher + 1, higher + equal + 2):
        if rank <= int(cutoff):
            total += {"Hit": 1.0, "NDCG": 1 / math.log2(rank + 1), "MRR": 1 / rank}[name]
    return total / (equal + 1)


def seed_means(metric: str, seeds: dict[int, np.ndarray]) -> list[float]:
    return [sum(user_value(metric, rank) for rank in ranks) / len(ranks) for ranks in seeds.values()]


def user_means(metric: str, seeds: dict[int, np.ndarray]) -> list[float]:
    return [sum(user_value(metric, ranks[user]) for ranks in seeds.values()) / len(seeds) for user in range(USERS)]


def assert_tex_is_well_formed(text: str, columns: int) -> None:
    bare = re.sub(r"\\[\\&%$#_{}]", " ", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1] == ["table", "tabular"]
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0].strip().splitlines()
    rows = [line for line in body if not line.startswith((r"\midrule", r"\multicolumn"))]
    assert len(rows) > 1
    for row in rows:
        assert row.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", row)) == columns - 1
    assert rf"\multicolumn{{{columns}}}" in text
    assert text.isascii()


def html_root(file: Path) -> ElementTree.Element:
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "http" not in text, "no external request"
    return ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))


def markdown_rows(file: Path) -> list[list[str]]:
    """Cells of all rows of a table's md file, headings and rules aside; the first cell is the name of the row."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    cells = [[cell.strip().replace(r"\|", "|") for cell in row] for row in cells]
    rules = [index for index, row in enumerate(cells) if set("".join(row)) == set("-:")]
    assert rules and all(len(row) == len(cells[0]) for row in cells)
    return [row for index, row in enumerate(cells) if index not in rules and index + 1 not in rules]


def assert_md_says_what_html_says(md: Path, html: Path) -> None:
    """Caption, notes, titles and every printed value stand in both; second lines of cells stand in html only."""
    root, text = html_root(html), md.read_text(encoding="utf-8")
    rows = root.findall(".//tbody/tr/th[@scope='row']/..")
    printed = [[_without_small(cell) for cell in row] for row in rows]
    assert printed
    assert markdown_rows(md) == printed
    assert text.splitlines()[0] == f"# {root.findtext('.//caption/span')}"
    for title in root.findall(".//th[@scope='rowgroup']/span"):
        assert f"\n## {title.text}\n" in text
    for note in root.findall(".//li"):
        assert f"\n- {note.text}\n" in text


def _without_small(cell: ElementTree.Element) -> str:
    inner = ["".join(child.itertext()) + (child.tail or "") for child in cell if child.tag not in ("br", "small")]
    return ((cell.text or "") + "".join(inner)).strip()


def statistics_file(folder: Path, users: int, items: int, interactions: int) -> Path:
    rows = interactions - users
    found = {"users": users, "items": items, "interactions": interactions, "sparsity": 1 - interactions / users / items}
    printed = {"users": users + 1, "items": items + 1, "interactions": rows}
    found["split"] = {
        "protocol": "leave-one-out",
        "quantile": 0.9,
        "training": interactions - 2 * users,
        "cold_items": COLD_ITEMS,
        "validation_targets": users,
        "test_targets": users,
        "cold": 0.2,
        "early": 0.465 if users > 100 else None,
        "same_day": 0.5 if users > 100 else None,
    }
    found["filter"] = []
    found["paper"] = printed | {"sparsity": 1 - rows / (users + 1) / (items + 1)}
    write_json(folder / "statistics.json", found)
    return folder / "statistics.json"


def make_statistics(files: list[Path], folder: Path) -> tuple[Path, ...]:
    outputs = outputs_of(folder, "s")
    statistics_table(statistics=files, paper=NAMES, **outputs)
    return tuple(outputs.values())
