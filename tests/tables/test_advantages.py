"""The table of advantages: runs of a model against its own run, recomputed from made-up ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from decorec.errors import DecorecError
from decorec.tables.advantages import ModelNames, advantages_table
from tests.support.fabricated_ranks import (
    EVALUATE,
    HISTORIES,
    SEEDS,
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    fabricate,
    outputs_of,
    records,
    seed_means,
    under,
    user_means,
    user_value,
)
from tests.support.traced.world import METRICS, permutation

MODELS = ModelNames({"decorec": "decorec", "my-run": "decorec", "sasrec": "sasrec"})


def test_gains_are_those_over_the_first_run_of_the_same_model(tmp_path: Path) -> None:
    files, ranks = fabricate(tmp_path)
    outputs = outputs_of(tmp_path, "advantages")
    advantages_table(ranks=files, models=MODELS, evaluate=EVALUATE, **outputs)
    rows = {(r["dataset"], r["history"], r["metric"], r["run"]): r for r in records(outputs["csv"])}
    assert len(rows) == 2 * 2 * 6 * 3
    for (dataset, history, metric, run), row in rows.items():
        seeds = under(history, ranks[dataset][run])
        assert row["model"] == MODELS.root[run] and row["seeds"] == str(len(SEEDS[run]))
        assert float(row["mean"]) == pytest.approx(np.mean(seed_means(metric, seeds)), abs=1e-6)
        lead = [row[key] for key in ("lead", "lead_low", "lead_high", "lead_p_value")]
        assert (lead == [""] * 4) == (run != "sasrec")
        if run == "sasrec":
            other = under(history, ranks[dataset]["my-run"])
            gap = np.subtract(user_means(metric, other), user_means(metric, seeds))
            assert float(lead[0]) == pytest.approx(gap.mean(), abs=1e-6)
            assert float(lead[3]) == pytest.approx(permutation(gap), abs=1e-6)
            assert float(lead[1]) <= float(lead[0]) <= float(lead[2])
        if run != "my-run":
            assert row["difference"] == row["ci_low"] == row["ci_high"] == row["p_value"] == ""
            continue
        own = under(history, ranks[dataset]["decorec"])
        users = [
            np.mean([[user_value(metric, place) for place in places] for places in group.values()], axis=0)
            for group in (seeds, own)
        ]
        assert float(row["difference"]) == pytest.approx((users[0] - users[1]).mean(), abs=1e-6)
        assert float(row["p_value"]) == pytest.approx(permutation(users[0] - users[1]), abs=1e-6)
        assert float(row["ci_low"]) <= float(row["difference"]) <= float(row["ci_high"])
    assert {key[1] for key in rows} == set(HISTORIES) and {key[2] for key in rows} == set(METRICS)
    assert_md_says_what_html_says(outputs["md"], outputs["html"])
    assert_tex_is_well_formed(outputs["tex"].read_text(), 4)


def test_runs_of_one_model_stand_one_after_another(tmp_path: Path) -> None:
    apart = ModelNames({"decorec": "decorec", "sasrec": "sasrec", "my-run": "decorec"})
    with pytest.raises(DecorecError, match=r"tables\.advantages: .* one after another, found those of decorec"):
        advantages_table(ranks=[], models=apart, evaluate=EVALUATE, **outputs_of(tmp_path, "advantages"))
