"""train.start: a training that begins with an earlier checkpoint, of the same items or of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decorec.artifacts.files import read_arrays
from decorec.config.runs import Run
from decorec.data.graph import normalise
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import rank_users
from decorec.models import checkpoint
from decorec.models.base import Recommender
from decorec.models.item_data import ItemData
from decorec.models.registry import MODELS, build
from decorec.models.warm_start import start_warm
from decorec.prepare.cooccurrence import count_pairs
from decorec.training.steps import train
from tests.support import small
from tests.training.test_steps import outputs

ITEMS, NEW = 40, 5
NAMES = [f"item {number}" for number in range(ITEMS)]
PLUS = {"floor": {"name": "content-ease"}, "weight": 0.3, "neighbourhood": 0.3, "repeats": "counted"}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    *((name, "fit", {}) for name in MODELS if name not in ("decorec", *small.FLOORS)),
    ("decorec", "stage1", {}),
    ("decorec", "stage2", {"experts": PLUS}),
    ("decorec", "stage2", {"enrich": "raw", "interest_mlp": False}),
]
"""Every model that is trained."""


def run_of(name: str, options: dict[str, Any]) -> Run:
    return small.run(**options, name=name)


def trained(data: Sequences, run: Run, stage: str) -> Recommender:
    """A model all of whose parameters have values that no initialisation gives."""
    model = small.model(data, run, stage, seed=1)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.observe(data.training())
    return model.eval()


def saved(folder: Path, model: Recommender, run: Run, items: list[str] = NAMES) -> tuple[Path, Path]:
    files = folder / "model.safetensors", folder / "config.json"
    small.save(model, run, 0, items, *files)
    return files


def later_world(
    data: Sequences, earlier: ItemData, run: Run, new: int
) -> tuple[Sequences, ItemData, list[str], Tensor]:
    """The same purchases of the same items in another order, with ``new`` items and clusters with other numbers."""
    random = np.random.default_rng(3)
    order = random.permutation(ITEMS + new)  # place of each earlier item, then of each new one
    items = ITEMS + new
    names = np.array([*NAMES, *(f"new {number}" for number in range(new))])
    position = torch.from_numpy(np.argsort(order))
    sequences = Sequences(data.users, data.offsets, order[data.items].astype(np.int32), data.timestamps)
    matrix = normalise(count_pairs(sequences.training(), items, run.graph), run.normalisation)
    tensors: dict[str, Tensor] = {}
    for name, tensor in earlier.tensors().items():
        kind = name.partition(".")[0]
        if kind == "graph":
            part = {"crow": matrix.indptr, "col": matrix.indices, "values": matrix.data}[name.partition(".")[2]]
            tensors[name] = torch.from_numpy(part.astype(np.float32 if name.endswith("values") else np.int32))
        elif kind == "interests":
            numbers = torch.tensor([3, 0, 4, 1, 2])
            tensors[name] = torch.cat([numbers[tensor], torch.full((new,), 4)])[position]
        elif kind != "centroids":
            tensors[name] = torch.cat([tensor, torch.ones(new, *tensor.shape[1:], dtype=tensor.dtype)])[position]
        else:
            tensors[name] = tensor
    return sequences, ItemData(items, tensors), names[position].tolist(), position


@pytest.mark.parametrize(("name", "stage", "options"), CASES)
def test_rows_go_by_the_id_of_the_item(name: str, stage: str, options: dict[str, Any], tmp_path: Path) -> None:
    data, run = small.sequences(), run_of(name, options)
    earlier = trained(data, run, stage)
    files = saved(tmp_path, earlier, run)
    _, known, names, position = later_world(data, earlier.item_data, run, NEW)
    models = []
    for _ in range(2):
        torch.manual_seed(7)
        models.append(build(run, known, stage))
    model, fresh = models
    start_warm(model, names, *files, holds_out=True)
    old = position < ITEMS
    own, there, initial = (dict(one.named_parameters()) for one in (model, earlier, fresh))
    assert own.keys() == there.keys()
    for key, parameter in own.items():
        source, axis = there[key], 1 if key.endswith("from_graph") else 0
        if ".table." in key:
            assert torch.equal(parameter, source[torch.tensor([1, 3, 4, 0, 2])]), key
        elif key == "clock.gaps":  # one for each length of a gap, of as many as the data have
            assert torch.equal(parameter[: len(source)], source)
        elif parameter.shape != source.shape:
            rows, first = parameter.movedim(axis, 0), initial[key].movedim(axis, 0)
            assert torch.equal(rows[: len(old)][old], source.movedim(axis, 0)[position[old]]), key
            assert torch.equal(rows[: len(old)][~old], first[: len(old)][~old]), "new rows are initialised as always"
            assert torch.equal(rows[len(old) :], source.movedim(axis, 0)[ITEMS:]), "the row of a mask"
        else:
            assert torch.equal(parameter, source), key


@pytest.mark.parametrize("new", [0, None], ids=["other order", "same"])
@pytest.mark.parametrize(("name", "stage", "options"), [case for case in CASES if case[0] != "missrec"])
def test_a_start_without_training_ranks_as_the_checkpoint(
    name: str, stage: str, options: dict[str, Any], new: int | None, tmp_path: Path
) -> None:
    """MISSRec is left out: it clusters at the start of an epoch."""
    data, run = small.sequences(), run_of(name, options)
    earlier = trained(data, run, stage)
    files = saved(tmp_path, earlier, run)
    sequences, known, names = data, earlier.item_data, NAMES
    if new is not None:
        sequences, known, names, _ = later_world(data, earlier.item_data, run, new)
    model = build(run, known, stage)
    model.observe(sequences.training())
    start_warm(model, names, *files, holds_out=True)
    wanted, found = rank_users(earlier, data, "valid"), rank_users(model.eval(), sequences, "valid")
    if new is None:
        assert found == wanted
    else:  # sums over the items go in another order
        assert np.abs(found.higher.astype(int) - wanted.higher.astype(int)).max() <= 1


def test_the_step_starts_from_the_files_and_says_so_in_the_configuration(tmp_path: Path) -> None:
    data = small.sequences()
    run = small.run()
    files = small.files(tmp_path, data, run)
    start = dict(zip(("start", "start_config"), saved(tmp_path / "1", trained(data, run, "stage2"), run), strict=True))
    folder = str(tmp_path / "1")
    gentle = {
        "epochs": 1,
        "averaging": 0.0,
        "learning_rate": 1e-12,
        "id_learning_rate": 0.0,
        "stage2": {"learning_rate": 1e-12},
    }
    warm = run.model_copy(update={"train": type(run.train).model_validate(gentle | {"start": folder})})
    train(run=warm, stage="stage2", seed=9, **files, **start, **outputs(tmp_path / "2"))
    before, after = (read_arrays(tmp_path / number / "model.safetensors")[0] for number in "12")
    for name in (key for key in before if key.startswith("model.")):
        assert np.allclose(after[name], before[name], atol=1e-6), name
    assert checkpoint.load(tmp_path / "2/model.safetensors", tmp_path / "2/config.json").run.train.start == folder
    train(run=warm, stage="stage1", seed=9, **files, **start, **outputs(tmp_path / "3"))
    first = read_arrays(tmp_path / "3/model.safetensors")[0]
    assert np.allclose(first["model.adapters.text.project.0.weight"], before["model.adapters.text.project.0.weight"])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    data, run = small.sequences(), small.run(name="sasrec")
    model = trained(data, run, "fit")

    def refused(match: str, files: tuple[Path, Path], other: Recommender = model, items: list[str] = NAMES) -> None:
        with pytest.raises(DecorecError, match=match):
            start_warm(other, items, *files, holds_out=True)

    files = saved(tmp_path / "one", model, run)
    wide = small.run(name="sasrec", dim=32)
    refused(
        r"found a difference in items.weight \(\[40, 16\] there, \[40, 32\] here\)", files, trained(data, wide, "fit")
    )
    refused(
        "expected a checkpoint of gru4rec, found one of sasrec",
        files,
        trained(data, small.run(name="gru4rec"), "fit"),
    )
    refused("of the same shop, found none of its items", files, items=[f"other {number}" for number in range(ITEMS)])
    own = small.run()
    other = build(own, small.item_data(data, own, seed=1), "stage2")
    refused(
        r"knows the features\.text of its items, found other ones for 40 of 40 items: another encoder",
        saved(tmp_path / "two", trained(data, own, "stage2"), own),
        other,
    )
    refused(
        "expected a checkpoint of decorec, found one of sasrec",
        files,
        build(own, other.item_data, "stage1"),
    )
    production = saved(tmp_path / "results/shop/production/fit", model, run)
    refused("the model for production, which has seen them", production)
    start_warm(model, NAMES, *production, holds_out=False)
