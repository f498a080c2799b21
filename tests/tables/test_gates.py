"""The table of gates: from models whose gates are known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from decorec.errors import DecorecError
from decorec.models.decorec import DeCoRec, Enrichment
from decorec.tables.gates import gates_table
from tests.support import small
from tests.support.fabricated_ranks import (
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    html_root,
    outputs_of,
    records,
)

HIGH = math.log(3)
"""Its sigmoid is 3 / 4."""


def saved(
    folder: Path, directory: str, seed: int, biases: tuple[float, float], stage: str = "stage2", **options: Any
) -> Path:
    """A model whose gates of the ids are sigmoids of ``biases``; those of the modalities are 1 / 2."""
    data, run = small.sequences(), small.run(**options)
    model = small.model(data, run, stage)
    if isinstance(model, DeCoRec) and isinstance(model.enrich_ids, Enrichment):
        with torch.no_grad():
            model.enrich_ids.bias.copy_(torch.tensor(biases))
    place = folder / "shop" / "runs" / directory / f"seed-{seed}" / stage
    items = [f"i{number}" for number in range(40)]
    small.save(model, run, seed, items, place / "model.safetensors", place / "config.json")
    return place / "model.safetensors"


def test_gates_by_layer_over_items_and_seeds(tmp_path: Path) -> None:
    models = [saved(tmp_path, "decorec", 0, (HIGH, 0.0)), saved(tmp_path, "decorec", 1, (0.0, HIGH))]
    models.append(saved(tmp_path, "deep", 0, (HIGH, -HIGH)))
    models.append(saved(tmp_path, "open", 0, (20.0, 19.0)))
    outputs = outputs_of(tmp_path, "gates")
    gates_table(models=models, **outputs)
    rows = {(row["run"], row["part"], row["layer"]): row for row in records(outputs["csv"])}
    assert len(rows) == 3 * (1 + 1 + 2)
    for layer in "12":
        row = rows["decorec", "ids", layer]
        assert [row[key] for key in ("mean", "seeds", "falls")] == ["0.625000", "2", "0.500000"], "falls with seed 0"
        assert row["std"] == f"{0.25 / math.sqrt(2):.6f}"
        assert (row["low"], row["high"]) == ("0.500000", "0.750000")
    assert [rows["deep", "ids", layer]["mean"] for layer in "12"] == ["0.750000", "0.250000"]
    assert {rows["deep", "ids", layer]["falls"] for layer in "12"} == {"1.000000"}
    assert rows["open", "ids", "1"]["falls"] == "1.000000", "both are 1 in single precision"
    text = rows["decorec", "text", "1"]
    assert (text["mean"], text["std"], text["falls"]) == ("0.500000", "0.000000", "")
    assert rows["deep", "text", "1"]["std"] == "", "one seed"
    assert_md_says_what_html_says(outputs["md"], outputs["html"])
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=4)
    headings = [cell.text for cell in html_root(outputs["html"]).findall(".//thead/tr/th[@scope='col']")]
    assert headings == ["Run and part", "Layer 1", "Layer 2", "Falls with every layer"]


def test_models_without_gates_are_refused(tmp_path: Path) -> None:
    outputs = outputs_of(tmp_path, "gates")
    plain = saved(tmp_path, "plain", 0, (0.0, 0.0), modal_layers=0, id_layers=0)
    with pytest.raises(DecorecError, match="expected a model that is enriched by gates, found none"):
        gates_table(models=[plain], **outputs)
    other = saved(tmp_path, "sasrec", 0, (0.0, 0.0), stage="fit", name="sasrec")
    with pytest.raises(DecorecError, match="expected a run of decorec, found sasrec; remove it"):
        gates_table(models=[other], **outputs)
    assert not outputs["csv"].exists()
