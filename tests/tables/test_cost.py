"""The table of costs: measurements of Snakemake and sizes of checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from decorec.errors import DecorecError
from decorec.tables.cost import FirstStages, cost_table
from tests.support import small
from tests.support.fabricated_ranks import (
    assert_md_says_what_html_says,
    assert_tex_is_well_formed,
    html_root,
    outputs_of,
    records,
)

STAGES = {"decorec": ("stage1", "stage2"), "no-cluster": ("stage2",), "sasrec": ("fit",)}
RUNS = FirstStages({"shop": {"decorec": "decorec", "no-cluster": "decorec", "sasrec": "sasrec"}})


def measure(file: Path, seconds: float, memory: float = 100.0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"s\th:m:s\tmax_rss\tcpu_time\n{seconds}\t0:00:01\t{memory}\t{seconds / 2}\n")


def world(folder: Path) -> tuple[list[Path], dict[str, int]]:
    data, models, sizes = small.sequences(), [], {}
    for run, stages in STAGES.items():
        chosen = small.run(name="sasrec") if run == "sasrec" else small.run(interests=run == "decorec")
        for stage in stages:
            for seed in (0, 1):
                place = folder / "shop" / "runs" / run / f"seed-{seed}" / stage
                model = small.model(data, chosen, stage)
                items = [f"i{number}" for number in range(40)]
                small.save(model, chosen, seed, items, place / "model.safetensors", place / "config.json")
                models.append(place / "model.safetensors")
                sizes[f"{run} {stage}"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
                measure(folder / "benchmarks/shop/runs" / run / f"seed-{seed}" / f"{stage}.tsv", 10.0 + 4 * seed)
    measure(folder / "benchmarks/shop/ingest.tsv", 3.0)
    measure(folder / "benchmarks/shop/runs/decorec/seed-1/evaluate.tsv", 5.0, 250.0)
    return models, sizes


def make(folder: Path, models: list[Path]) -> list[dict[str, str]]:
    outputs = outputs_of(folder, "cost")
    cost_table(models=models, first_stages=RUNS, benchmarks=folder / "benchmarks", **outputs)
    assert_md_says_what_html_says(outputs["md"], outputs["html"])
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=6)
    assert len(html_root(outputs["html"]).findall(".//tbody")) == 1
    return records(outputs["csv"])


def test_every_step_of_every_run(tmp_path: Path) -> None:
    models, sizes = world(tmp_path)
    rows = {(row["run"], row["step"]): row for row in make(tmp_path, models)}
    assert list(rows) == [
        ("", "ingest"),
        ("decorec", "stage1"),
        ("decorec", "stage2"),
        ("decorec", "evaluate"),
        ("no-cluster", "stage1"),
        ("no-cluster", "stage2"),
        ("no-cluster", "evaluate"),
        ("sasrec", "fit"),
        ("sasrec", "evaluate"),
    ]
    assert rows["", "ingest"]["seconds"] == "3.000000"
    first = rows["decorec", "stage1"]
    assert (first["seconds"], first["seeds"], first["processor_seconds"]) == ("12.000000", "2", "6.000000")
    assert float(first["seconds_std"]) == pytest.approx(2.828427, abs=1e-6)
    assert rows["no-cluster", "stage1"]["seconds"] == first["seconds"], "the stage that it starts from"
    assert rows["decorec", "evaluate"]["peak_memory_mb"] == "250.000000"
    assert rows["sasrec", "evaluate"]["seconds"] == "", "not measured"
    for (run, step), row in rows.items():
        if f"{run} {step}" in sizes:
            assert int(row["trainable_parameters"]) == sizes[f"{run} {step}"]
    second = rows["decorec", "stage2"]
    assert int(second["trainable_parameters"]) < int(second["parameters"]), "adapters are frozen"


def test_steps_of_each_modality_have_a_row_for_each(tmp_path: Path) -> None:
    models, _ = world(tmp_path)
    for name in ("cluster-text", "cluster-image", "atomic-features-text", "atomic-features-image"):
        measure(tmp_path / f"benchmarks/shop/{name}.tsv", float(len(name)))
    prepared = {row["step"]: row["seconds"] for row in make(tmp_path, models) if not row["run"]}
    names = ("ingest", "atomic-features-image", "atomic-features-text", "cluster-image", "cluster-text")
    assert tuple(prepared) == names
    assert all(float(seconds) == len(name) for name, seconds in prepared.items() if name != "ingest")


def test_a_damaged_measurement_is_named(tmp_path: Path) -> None:
    models, _ = world(tmp_path)
    (tmp_path / "benchmarks/shop/ingest.tsv").write_text("s\n3.0\n")
    with pytest.raises(DecorecError, match=r"ingest\.tsv"):
        make(tmp_path, models)
