"""Where what is made from a run is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from decorec.artifacts import layout


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("results/shop/runs/plain/seed-0", "plain"),
        ("results/shop/runs/plain/seed-0/fit", "plain"),
        ("results/shop/production", "production"),
        ("results/shop/production/stage2", "production"),
        ("results/shop/added/plain", "plain"),
        ("results/shop/copied", "copied"),
    ],
)
def test_a_folder_named_runs_above_results_says_nothing(run: str, name: str) -> None:
    for above in (Path("/"), Path("/srv/runs/mine")):
        found = layout.made_from(above / run, layout.EXPORT)
        assert found == above / "results" / "shop" / "export" / name
