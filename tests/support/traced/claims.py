"""The table of claims: each statement of the paper with its effect and its tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse
import scipy.stats

from decorec.tables.labels import short
from tests.support.traced.neighbours import VIEWS
from tests.support.traced.world import METRICS, Row, World, holm, interval, interval_of_runs, modes_of, permutation

SPANS = {f"{short('sasrec')} (ids alone) is best around epoch 5": (4.0, 6.0)}
"""Claim -> what it says, where that is of no data set."""


def claims(world: World) -> Iterator[Row]:
    """Every statement with its effect in every metric, or nothing where a run is missing."""
    tables = world.config["tables"]
    for kind, statements in _claims(world, *(tables[name] for name in ("main", "ablations", "fusion", "retrieval"))):
        rows: list[Row] = []
        for text, in_paper, per_metric in statements:
            for metric, measured in per_metric.items():
                names = {"dataset": world.dataset, "kind": kind, "claim": text, "metric": metric, "in_paper": in_paper}
                columns = dict(zip(("difference", "ci_low", "ci_high", "p_value"), measured, strict=True))
                low, high = SPANS.get(text, (None, None))  # the paper does not have the sample
                rows.append({**names, **columns, "paper": low, "paper_high": high})
        tested = [row for row in rows if row["p_value"] is not None]
        for row, p in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
            row["p_holm"] = p
        for row in rows:
            if row["p_value"] is None:
                yield row | {"p_holm": None, "verdict": "not testable here"}
                continue
            apart = row["ci_high"] < 0 if row["paper"] is None else row["ci_high"] < 4 or row["ci_low"] > 6
            verdict = "contradicted" if apart else "undecided"
            if row["difference"] > 0 and row["p_holm"] <= 0.05:
                verdict = "reproduced"
            yield row | {"verdict": verdict if row["in_paper"] else ""}


Measured = tuple[Any, Any, Any, Any]
Statement = tuple[str, bool, dict[str, Measured]]


def _claims(
    world: World, main: list[str], ablations: list[str], fusion: list[str], retrieval: list[str]
) -> Iterator[tuple[str, list]]:
    everyone = np.ones(len(world.sequences), dtype=bool)
    us = short("decorec")

    def paired(one: tuple[str, str | None], two: tuple[str, str | None], users: np.ndarray) -> dict[str, Measured]:
        modes = {(run, mode) for run in retrieval for mode in modes_of(world, run)}
        known = {(run, None) for run in (*main, *ablations, *fusion)} | modes
        if not {one, two} <= known:
            return dict.fromkeys(METRICS, (None,) * 4)
        found = {}
        for metric in METRICS:
            better, worse = (world.figures(metric, *run)[:, users] for run in (one, two))
            differences = better.mean(axis=0) - worse.mean(axis=0)
            found[metric] = (differences.mean(), *interval_of_runs(better, worse), permutation(differences))
        return found

    def versus(pairs: list[tuple[str, str, str]]) -> list[tuple[str, bool, dict[str, Measured]]]:
        return [(text, True, paired((one, None), (two, None), everyone)) for text, one, two in pairs]

    modal = [
        (f"{short(one)} beats {short(two)}", one, two)
        for one in ("unisrec", "missrec")
        for two in ("sasrec", "bert4rec")
    ]
    for kind, runs in (("main", main), ("ablations", ablations)):
        theirs = [name for name in world.paper(kind) if name != "decorec"]
        ours = [run for run in runs if run != "decorec"]
        yield (
            kind,
            [
                (f"{us} beats {short(run)}", run in theirs, paired(("decorec", None), (run, None), everyone))
                for run in (*ours, *(name for name in theirs if name not in ours))
            ],
        )
        if kind == "main":
            yield "modal", versus(modal)
    frame, views = pl.read_parquet(world.root / "recall.parquet"), ("interest", "modal-similarity")
    hits = {view: frame.filter(view=view)["hits"].to_numpy().astype(float) for view in VIEWS}
    printed = ("Interest (co-occurrence)", "Modal similarity (text and picture)")
    found = []
    for view, name in zip(views, printed, strict=True):
        differences = hits["modality-interest"] - hits[view]
        measured = (differences.mean(), *interval(differences), permutation(differences))
        found.append((f"Both at once finds more than {name} alone", True, {"hits per user": measured}))
    if world.history == "masked":  # it predicts no item of the history
        yield "recall", found
    else:  # of trainings, whose best epochs are chosen with the history kept
        yield "convergence", _best_epochs(world)
        nothing = [dict.fromkeys((f"{sign}cosine", f"{sign}cosine_apart"), (None,) * 4) for sign in ("-", "")]
        parts = "gradients of ids and modalities"
        texts = (f"At first the {parts} oppose each other", f"The {parts} agree more by step 50")
        yield "gradients", [(text, True, none) for text, none in zip(texts, nothing, strict=True)]  # one seed
    modalities, linear = "no-collaborative", "linear-adapter-no-collaborative"
    fused = [
        (f"By modalities alone, {modalities} beats naive-fusion", modalities, "naive-fusion"),
        (f"By ids alone, {short('sasrec')} beats naive-fusion", "sasrec", "naive-fusion"),
        (f"{modalities} beats {linear}", modalities, linear),
    ]
    yield "fusion", versus(fused)
    full, apart = ("decorec", "cross"), ("no-cross", "intra")
    lesser = [(f"{us}: cross beats {mode}", paired(full, ("decorec", mode), everyone)) for mode in MODES]
    lesser.append((f"{us}: cross beats {short('no-cross')}: intra", paired(full, apart, everyone)))
    yield "modes", [(text, True, measured) for text, measured in lesser]
    single = [
        (f"By {mode} alone, {us} beats {mode}-only", paired(("decorec", mode), (f"{mode}-only", mode), everyone))
        for mode in ("text", "image")
    ]
    yield "single", [(text, True, measured) for text, measured in single]
    cold = [
        (f"On cold users {us} beats {short(run)}", paired(("decorec", None), (run, None), world.cold))
        for run in ("sasrec", "unisrec", "missrec")
    ]
    cold.append((f"Cold users gain more over {short('sasrec')} than the others", _groups(world)))
    yield "cold", [(text, True, measured) for text, measured in cold]


MODES = ("intra", "text", "image")


def _best_epochs(world: World) -> list[tuple[str, bool, dict[str, Measured]]]:
    """Best epochs from 1, one per seed: t-tests written out; without any spread p is 1."""

    def best(run: str, stage: str) -> list[int]:
        frames = [pl.read_parquet(world.place(run, seed) / stage / "history.parquet") for seed in world.seeds]
        return [frame["best"].to_list().index(True) + 1 for frame in frames]

    ids, modalities = best("sasrec", "fit"), best("decorec", "stage1")
    mean, error, freedom = statistics.fmean(ids), statistics.stdev(ids) / math.sqrt(len(ids)), len(ids) - 1
    around: Measured = (mean, mean, mean, 1.0)
    if error:
        reach = scipy.stats.t.ppf(0.975, freedom) * error
        p = max(scipy.stats.t.sf(distance / error, freedom) for distance in (mean - 4, 6 - mean))
        around = (mean, mean - reach, mean + reach, p)
    before = _welch(np.array(modalities), np.array(ids))
    us, them = short("decorec"), short("sasrec")
    return [
        (f"{them} (ids alone) is best around epoch 5", True, {"best epoch": around}),
        (f"{them} is best before stage 1 of {us} (modalities alone)", True, {"best epoch": before}),
    ]


def _groups(world: World) -> dict[str, Measured]:
    """Welch's test of the gains of two groups of users, written out."""
    found: dict[str, Measured] = {}
    for metric in METRICS:
        gains = (world.figures(metric, "decorec") - world.figures(metric, "sasrec")).mean(axis=0)
        found[metric] = _welch(gains[world.cold], gains[~world.cold])
    return found


def _welch(one: np.ndarray, two: np.ndarray) -> Measured:
    """Difference of two means, its interval, and p; without any spread p is 1."""
    difference = one.mean() - two.mean()
    parts = [group.var(ddof=1) / len(group) for group in (one, two)]
    if len(set(one)) == len(set(two)) == 1:
        return difference, difference, difference, 1.0
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(p**2 / (len(g) - 1) for p, g in zip(parts, (one, two), strict=True))
    reach = scipy.stats.t.ppf(0.975, freedom) * error
    p = 2 * scipy.stats.t.sf(abs(difference) / error, freedom)
    return difference, difference - reach, difference + reach, p
