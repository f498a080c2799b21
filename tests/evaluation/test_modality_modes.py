"""Modes of scoring: second evaluations of the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from decorec.artifacts.files import write_table
from decorec.data.batches import histories
from decorec.data.sequences import Sequences, write_vocab
from decorec.errors import DecorecError
from decorec.evaluation.evaluate import evaluate
from decorec.evaluation.modality_modes import modality_modes, modes_of
from decorec.models import checkpoint
from decorec.tables.retrieval import retrieval_table
from tests.support import small
from tests.support.fabricated_ranks import EVALUATE, assert_tex_is_well_formed, html_root, records

MODES = ("image", "text", "intra", "cross")
PLACES = ("higher", "equal", "higher_masked", "equal_masked")
ITEMS = [f"i{number}" for number in range(40)]


def world(folder: Path, stage: str = "stage2", **model: object) -> tuple[dict[str, Path], Sequences]:
    data, run = small.sequences(), small.run(**model)
    files = {name: folder / name for name in ("vocab", "sequences", "model", "config")}
    write_vocab(files["vocab"], ITEMS)
    data.write(files["sequences"])
    small.save(small.model(data, run, stage), run, 0, ITEMS, files["model"], files["config"])
    return files, data


def test_cross_is_what_evaluate_ranks(tmp_path: Path) -> None:
    files, _ = world(tmp_path)
    before = files["model"].read_bytes()
    modality_modes(**files, modes=tmp_path / "modes")
    evaluate(**files, **{name: tmp_path / name for name in ("ranks", "validation", "lists", "metrics")})
    frame = pl.read_parquet(tmp_path / "modes")
    assert tuple(frame["mode"].unique(maintain_order=True)) == MODES
    cross = frame.filter(mode="cross")
    assert cross.drop("mode").equals(pl.read_parquet(tmp_path / "ranks").select("user", "target", *PLACES))
    assert not cross["higher"].equals(frame.filter(mode="intra")["higher"])
    assert files["model"].read_bytes() == before


def test_scores_of_a_mode_by_hand() -> None:
    """softmax(h_m . E_m / tau) for one modality; their sum for intra."""
    data = small.sequences()
    model = small.model(data, small.run(), "stage2").eval()
    (_, batch), *_ = histories(data, "test", 50).in_order(4096)
    with torch.no_grad():
        representations = model.item_representations()
        expected = {}
        for index, name in enumerate(("text", "image")):
            states = model.encoder(representations[index : index + 1][:, batch.items], batch)[0]
            expected[name] = torch.softmax(states @ representations[index].T / 2.0, 1)
        expected["intra"] = expected["text"] + expected["image"]
        found = {name: mode.scores(batch, mode.item_representations()) for name, mode in modes_of(model).items()}
    for name, scores in expected.items():
        torch.testing.assert_close(found[name], scores)


def test_three_modalities_have_five_modes_the_single_ones_first_in_alphabetical_order(tmp_path: Path) -> None:
    modalities = ["text", "image", "audio"]
    files, data = world(tmp_path, modalities=modalities)
    modality_modes(**files, modes=tmp_path / "modes")
    evaluate(**files, **{name: tmp_path / name for name in ("ranks", "validation", "lists", "metrics")})
    frame = pl.read_parquet(tmp_path / "modes")
    assert frame["mode"].unique(maintain_order=True).to_list() == ["audio", "image", "text", "intra", "cross"]
    assert frame.filter(mode="cross").select(PLACES).equals(pl.read_parquet(tmp_path / "ranks").select(PLACES))
    model = checkpoint.load(files["model"], files["config"]).model.eval()
    (_, batch), *_ = histories(data, "test", 50).in_order(4096)
    with torch.no_grad():
        representations = model.item_representations()
        found = {name: mode.scores(batch, mode.item_representations()) for name, mode in modes_of(model).items()}
        for index, name in enumerate(modalities):  # the order in which the model holds them
            states = model.encoder(representations[index : index + 1][:, batch.items], batch)[0]
            torch.testing.assert_close(found[name], torch.softmax(states @ representations[index].T / 2.0, 1))
    torch.testing.assert_close(found["intra"], found["audio"] + found["image"] + found["text"])


def test_a_model_of_one_modality_has_its_own_mode_alone(tmp_path: Path) -> None:
    files, _ = world(tmp_path, modalities=["text"])
    modality_modes(**files, modes=tmp_path / "modes")
    evaluate(**files, **{name: tmp_path / name for name in ("ranks", "validation", "lists", "metrics")})
    frame = pl.read_parquet(tmp_path / "modes")
    assert frame["mode"].unique().to_list() == ["text"]
    assert frame.select(PLACES).equals(pl.read_parquet(tmp_path / "ranks").select(PLACES))


def test_a_model_that_does_not_cross_has_intra_as_its_full_score(tmp_path: Path) -> None:
    files, _ = world(tmp_path, cross=False)
    modality_modes(**files, modes=tmp_path / "modes")
    evaluate(**files, **{name: tmp_path / name for name in ("ranks", "validation", "lists", "metrics")})
    frame = pl.read_parquet(tmp_path / "modes")
    assert frame["mode"].unique(maintain_order=True).to_list() == ["image", "text", "intra"]
    assert frame.filter(mode="intra").select(PLACES).equals(pl.read_parquet(tmp_path / "ranks").select(PLACES))


def test_a_model_without_modalities_is_refused(tmp_path: Path) -> None:
    files, _ = world(tmp_path, stage="fit", name="sasrec")
    with pytest.raises(DecorecError, match="expected a run of decorec, found sasrec"):
        modality_modes(**files, modes=tmp_path / "modes")


def write_modes(file: Path, names: tuple[str, ...], seed: int) -> Path:
    """Ranks that are the better the later the mode stands in ``names``."""
    random = np.random.default_rng(seed)
    users = [f"u{number}" for number in range(50)]
    frames = [
        pl.DataFrame(
            {
                "mode": mode,
                "user": users,
                "target": np.arange(50, dtype=np.int32),
                "higher": np.floor(random.exponential(40 / place, 50)).astype(np.int32),
                "equal": np.zeros(50, np.int32),
            }
        ).with_columns(higher_masked=pl.col("higher") // 2, equal_masked="equal")
        for place, mode in enumerate(names, 1)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table(file, pl.concat(frames))
    return file


def test_the_table_has_a_row_per_run_and_mode(tmp_path: Path) -> None:
    files = []
    for dataset in ("shop", "other"):
        for run, names in (("text-only", ("text",)), ("decorec", MODES)):
            for seed in (0, 1):
                place = tmp_path / dataset / "runs" / run / f"seed-{seed}" / "modes.parquet"
                files.append(write_modes(place, names, seed + len(names)))
    outputs = {kind: tmp_path / f"table.{kind}" for kind in ("csv", "tex", "html", "md")}
    runs = ["text-only", "decorec"]
    retrieval_table(modes=files, runs=runs, reference="decorec", evaluate=EVALUATE, **outputs)
    rows = records(outputs["csv"])
    assert [(row["run"], row["mode"]) for row in rows[:5]] == [
        ("text-only", "text"),
        *(("decorec", mode) for mode in MODES),
    ]
    assert len(rows) == 2 * 2 * 6 * 5
    for history, column in (("kept", "higher"), ("masked", "higher_masked")):
        first, second = (pl.read_parquet(file).filter(mode="intra")[column] for file in files[2:4])
        wanted = ("shop", history, "Hit@10", "intra")
        (row,) = [r for r in rows if (r["dataset"], r["history"], r["metric"], r["mode"]) == wanted]
        assert float(row["mean"]) == pytest.approx(((first < 10).mean() + (second < 10).mean()) / 2, abs=1e-6)
    assert {row["p_value"] == "" for row in rows if row["mode"] == "cross"} == {True}
    assert "" not in {row["p_value"] for row in rows if row["mode"] != "cross"}
    assert_tex_is_well_formed(outputs["tex"].read_text(), columns=6)
    assert len(html_root(outputs["html"]).findall(".//tbody")) == 4


def test_runs_of_one_modality_each_make_a_table(tmp_path: Path) -> None:
    names = {"text-only": ("text",), "image-only": ("image",)}
    files = [write_modes(tmp_path / "shop" / "runs" / run / "seed-0" / "modes.parquet", names[run], 0) for run in names]
    outputs = {kind: tmp_path / f"table.{kind}" for kind in ("csv", "tex", "html", "md")}
    retrieval_table(modes=files, runs=list(names), reference="decorec", evaluate=EVALUATE, **outputs)
    rows = records(outputs["csv"])
    assert {(row["run"], row["mode"], row["p_value"]) for row in rows} == {
        ("text-only", "text", ""),
        ("image-only", "image", ""),
    }
