"""The table of new items: every figure from made-up ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from decorec.artifacts.files import write_json, write_table
from decorec.errors import DecorecError
from decorec.tables.newitems import newitems_table
from tests.support.fabricated_ranks import (
    EVALUATE,
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    masked,
    outputs_of,
    records,
    under,
    user_value,
)

RUNS = ["decorec", "content-knn"]
MODES = {"new": 12, "known": 20}
"""Kind of target -> number of such users."""


def fabricate(folder: Path) -> tuple[list[Path], dict[tuple[str, str, str], dict[int, np.ndarray]]]:
    """Files of ranks, and for (run, targets, candidates): seed -> [users, 2] counts with the history kept."""
    random = np.random.default_rng(5)
    files, places = [], {}
    for run in RUNS:
        for seed in (0, 1) if run == "decorec" else (0,):
            frames = []
            for kind, users in MODES.items():
                for candidates in ("all", kind):
                    counts = random.integers(0, 30, (users, 2)) * [1, 0] + random.integers(0, 2, (users, 2)) * [0, 1]
                    places.setdefault((run, kind, candidates), {})[seed] = counts
                    names = {"user": [f"{kind} {user:02}" for user in range(users)]}
                    columns = names | {"target": np.arange(users, dtype=np.int32)}
                    for end, part in (("", counts), ("_masked", masked(counts))):
                        columns |= {
                            f"{name}{end}": part[:, at].astype(np.int32) for at, name in enumerate(("higher", "equal"))
                        }
                    mode = pl.lit(f"{kind} targets, {candidates} items").alias("mode")
                    frames.append(pl.DataFrame(columns).select(mode, pl.all()))
            file = folder / "results" / "shop" / "runs" / run / f"seed-{seed}" / "newitems.parquet"
            file.parent.mkdir(parents=True)
            write_table(file, pl.concat(frames).sample(fraction=1, shuffle=True, seed=seed))
            files.append(file)
    return files, places


def test_new_and_known_targets_among_all_items_and_their_own_kind(tmp_path: Path) -> None:
    files, places = fabricate(tmp_path)
    statistics = tmp_path / "results" / "shop" / "statistics.json"
    write_json(statistics, {"items": 400})
    outputs = outputs_of(tmp_path, "newitems")
    arguments = {"ranks": files, "statistics": [statistics], "runs": RUNS, "held_out": 0.05, "evaluate": EVALUATE}
    newitems_table(**arguments, **outputs)
    assert_md_says_what_html_says(outputs["md"], outputs["html"])
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=3)
    rows = records(outputs["csv"])
    kinds = [("new", "all"), ("new", "new"), ("known", "all"), ("known", "known")]
    expected = [(history, *kind) for history in ("kept", "masked") for kind in kinds]
    assert list(dict.fromkeys((row["history"], row["targets"], row["candidates"]) for row in rows)) == expected
    assert len(rows) == 2 * 4 * 6 * 2
    for row in rows:
        counts = under(row["history"], places[row["model"], row["targets"], row["candidates"]])
        each = [[user_value(row["metric"], own) for own in part] for part in counts.values()]
        assert float(row["mean"]) == pytest.approx(np.mean(each), abs=1e-6)
        assert (int(row["users"]), int(row["cold_items"])) == (MODES[row["targets"]], 20)
        assert int(row["seeds"]) == len(counts)
    text = outputs["md"].read_text()
    assert "## shop, 12 of 32 targets, new, among the 20 new items alone, history kept\n" in text
    write_json(statistics, {"users": 400})
    with pytest.raises(DecorecError, match=r"statistics.json: expected the number of items, found None"):
        newitems_table(**arguments, **outputs)
