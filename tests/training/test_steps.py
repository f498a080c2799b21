"""The step train: files in, a checkpoint out; what does not fit together is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from decorec.artifacts.files import read_arrays
from decorec.config.runs import Run
from decorec.data.sequences import read_vocab, write_vocab
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import rank_users
from decorec.models import checkpoint
from decorec.models.inputs import ModelInputs
from decorec.prepare.whole_sequences import whole_sequences
from decorec.training.loop import train_model
from decorec.training.steps import prepare, train
from tests.support import small


def outputs(folder: Path) -> dict[str, Any]:
    """Arguments that name what the step writes, with the code and the state that belong to it."""
    names = {"model": "model.safetensors", "history": "history.parquet", "config": "config.json"}
    files = {name: folder / file for name, file in names.items()}
    return {"code": "tested", "state": folder / "state.safetensors", **files}


def begin(folder: Path) -> dict[str, Path]:
    """Arguments of stage 2 that name the trained stage 1 in ``folder``."""
    return {"start": folder / "model.safetensors", "start_config": folder / "config.json"}


READ_OTHERWISE = {
    "cross": False,
    "enrich": "raw",
    "interest_input": "centroid",
    "adapter_hidden": 9,
    "scoring": "logits",
}
"""Other readings of the paper's equations, all at once."""


@pytest.mark.parametrize(
    "model",
    [{}, {"modalities": ["text", "image", "audio"], "alpha": 0.4}, READ_OTHERWISE],
    ids=["two", "three modalities", "other readings"],
)
def test_two_stages_from_files_are_the_training_itself(model: dict[str, Any], tmp_path: Path) -> None:
    data, run = small.sequences(), small.run(**model)
    files = small.files(tmp_path, data, run)
    train(run=run, stage="stage1", seed=3, **files, **outputs(tmp_path / "1"))
    train(run=run, stage="stage2", seed=3, **files, **begin(tmp_path / "1"), **outputs(tmp_path / "2"))
    names = read_vocab(files["vocab"])
    inputs = ModelInputs.of(files["features"], files["interests"], files["cooccurrence"])
    state = None
    for number, stage in enumerate(run.stages, 1):
        expected = prepare(run, stage, 3, inputs.item_data(run, stage, names), state)
        history = train_model(expected, data, run.train.stage(stage), 3)
        state = expected.state_dict()
        found = checkpoint.load_for(files["vocab"], *begin(tmp_path / str(number)).values())
        assert (found.run, found.stage, found.seed, found.items) == (run, stage, 3, names)
        assert pl.read_parquet(tmp_path / str(number) / "history.parquet").equals(history)
        assert state.keys() == found.model.state_dict().keys()
        for name, tensor in found.model.state_dict().items():
            assert torch.equal(tensor, state[name].cpu()), name
        assert rank_users(found.model, data, "test") == rank_users(expected.cpu(), data, "test")


@pytest.mark.parametrize("name", ["decorec", "sasrec", "content-ease"])
def test_a_training_on_everything_is_the_best_epoch_of_one_with_validation(name: str, tmp_path: Path) -> None:
    """Where both have the same interactions: then only validation differs, which must change nothing."""
    data, run = small.sequences(), small.run(name=name)
    stage = run.stages[0]
    files = small.files(tmp_path / "twin", data, run)
    train(run=run, stage=stage, seed=3, **files, **outputs(tmp_path / "1"))
    (tmp_path / "whole").mkdir()
    data.training().write(tmp_path / "whole/sequences.parquet")
    files["sequences"] = tmp_path / "whole/all.parquet"
    whole_sequences(sequences=tmp_path / "whole/sequences.parquet", output=files["sequences"])
    twin = tmp_path / "1/history.parquet"
    train(run=run, stage=stage, seed=3, **files, epochs_of=twin, **outputs(tmp_path / "2"))
    expected, found = (read_arrays(tmp_path / number / "model.safetensors")[0] for number in "12")
    assert expected.keys() == found.keys()
    for key, array in expected.items():
        assert np.array_equal(found[key], array), key
    history = pl.read_parquet(tmp_path / "2/history.parquet")
    assert history.columns == ["epoch", "loss", "best"]
    assert len(history) == pl.read_parquet(twin).filter("best")["epoch"].item() + 1
    assert history["best"].to_list() == [False] * (len(history) - 1) + [True]


def test_the_model_for_production_counts_the_held_out_items(tmp_path: Path) -> None:
    data, run = small.sequences(), small.run(name="popularity")
    files = small.files(tmp_path, data, run)
    train(run=run, stage="fit", seed=0, **files, **outputs(tmp_path / "1"))
    whole_sequences(sequences=files["sequences"], output=tmp_path / "all.parquet")
    files["sequences"] = tmp_path / "all.parquet"
    train(run=run, stage="fit", seed=0, **files, epochs_of=tmp_path / "1/history.parquet", **outputs(tmp_path / "2"))
    found = checkpoint.load(*(tmp_path / "2" / name for name in ("model.safetensors", "config.json")))
    assert found.counts.tolist() == np.bincount(data.items, minlength=40).tolist()
    assert found.model.counts.tolist() == found.counts.tolist()


@pytest.mark.parametrize(
    ("run", "stage", "known"),
    [
        (small.run(), "fit", "stage1 or stage2 for decorec"),
        (small.run(phased=False), "stage1", "fit for decorec"),
        (small.run(name="sasrec"), "stage2", "fit for sasrec"),
        (small.run(), "stage3", "stage1 or stage2 for decorec"),
    ],
)
def test_a_stage_that_the_model_does_not_have_is_refused(run: Run, stage: str, known: str, tmp_path: Path) -> None:
    files = small.files(tmp_path, small.sequences(), run)
    with pytest.raises(DecorecError, match=f"--stage: expected {known}, found '{stage}'"):
        train(run=run, stage=stage, seed=0, **files, **outputs(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [(), ("start",), ("start_config",)], ids=["neither", "no config", "no weights"])
def test_stage_2_without_a_start_is_refused(given: tuple[str, ...], tmp_path: Path) -> None:
    run = small.run()
    files = small.files(tmp_path, small.sequences(), run)
    some = {name: path for name, path in begin(tmp_path / "1").items() if name in given}
    with pytest.raises(DecorecError, match=r"stage2: expected the model .* --start and --start-config"):
        train(run=run, stage="stage2", seed=0, **files, **some, **outputs(tmp_path / "out"))


def test_a_start_for_other_items_is_refused(tmp_path: Path) -> None:
    data, run = small.sequences(), small.run()
    files = small.files(tmp_path, data, run)
    others = [f"other {number}" for number in range(40)]
    stage1 = outputs(tmp_path / "1")
    small.save(small.model(data, run, "stage1"), run, 0, others, stage1["model"], stage1["config"])
    with pytest.raises(DecorecError, match=r"expected the items of .*vocab\.parquet, found another list"):
        train(run=run, stage="stage2", seed=0, **files, **begin(tmp_path / "1"), **outputs(tmp_path / "2"))


def test_features_of_other_items_are_refused(tmp_path: Path) -> None:
    run = small.run()
    files = small.files(tmp_path, small.sequences(), run)
    write_vocab(files["vocab"], [f"other {number}" for number in range(40)])
    with pytest.raises(DecorecError, match=r"text\.safetensors: expected a row for each of 40 items, found none"):
        train(run=run, stage="stage1", seed=0, **files, **outputs(tmp_path / "out"))
