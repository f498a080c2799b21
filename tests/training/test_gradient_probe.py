"""The gradient probe: it changes nothing, and what it measures is what calculus says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor
from torch.func import functional_call, jvp

from decorec.artifacts.schemas.gradients import FIRST, GRADIENTS
from decorec.config.runs import Run
from decorec.data.batches import Batch
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import write_vocab
from decorec.errors import DecorecError
from decorec.evaluation.full_ranking import rank_users
from decorec.training.gradient_probe import GradientProbe, gradient_probe
from decorec.training.loop import train_model
from tests.support import small

NAIVE: dict[str, Any] = {"phased": False, "modal_layers": 0, "id_layers": 0, "interests": False}


def trained(run: Run, probed: bool) -> tuple[Any, pl.DataFrame, list[tuple[Any, ...]]]:
    data = small.sequences()
    model = small.model(data, run, "fit")
    observer = GradientProbe(model, 1) if probed else None
    history = train_model(model, data, run.train.stage("fit"), 0, on_gradients=observer)
    return model, history, observer.rows if observer else []


@pytest.mark.parametrize("difference", [NAIVE, {"phased": False}], ids=["naive", "everything"])
def test_a_probed_training_is_the_one_without_the_probe(difference: dict[str, Any]) -> None:
    run = small.run(**difference, encoder={"dropout": 0.3, "heads": 2})
    (plain, history, _), (probed, same, rows) = trained(run, False), trained(run, True)
    assert {row[0] for row in rows} == {0, 1, 2}, "it did look in every epoch"
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, probed.state_dict()[name]), name
    assert history.equals(same)
    data = small.sequences()
    assert rank_users(plain, data, "test") == rank_users(probed, data, "test")


def test_without_a_probe_nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("measured although nobody asked")

    monkeypatch.setattr(GradientProbe, "__call__", never)
    trained(small.run(**NAIVE), False)
    with pytest.raises(AssertionError, match="nobody asked"):
        trained(small.run(**NAIVE), True)


def cosine(one: Tensor, two: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.detach().flatten(), two.detach().flatten(), 0))


def measured(run: Run) -> tuple[Any, Batch, tuple[Any, ...]]:
    """A model in float64 with the gradients of one batch, and what the probe says of it."""
    data = small.sequences()
    model = small.model(data, run, "fit").double()
    observer = GradientProbe(model, 1)
    batch = next(iter(model.samples(data, run.train.stage("fit")).epoch(64, torch.Generator().manual_seed(1))))
    model.train()
    model.loss(batch).backward()
    observer(0, 0, batch)
    return model, batch, observer.rows[0]


@pytest.mark.parametrize("difference", [NAIVE, {"phased": False, "modal_layers": 0}], ids=["naive", "with graph"])
def test_together_is_what_a_step_on_each_part_does_to_the_items(difference: dict[str, Any]) -> None:
    model, _, (_, _, together, _, id_norm, modal_norm) = measured(small.run(**difference))
    adapted = []
    for name, adapter in model.adapters.items():
        weights = dict(adapter.named_parameters())
        slopes = {key: weight.grad for key, weight in weights.items()}
        features = model.item_data[f"features.{name}"]
        adapted.append(jvp(lambda w, a=adapter, f=features: functional_call(a, w, (f, None)), (weights,), (slopes,))[1])
    pushed = model.ids.weight.grad
    parts = [p for m in (model.ids, model.enrich_ids, model.interests) if m is not None for p in m.parameters()]
    if difference is NAIVE:
        assert together == pytest.approx(cosine(pushed.expand(2, -1, -1), torch.stack(adapted)), abs=1e-6)
    else:
        # Ids pass through the graph: central differences in place of the one-sided one of the probe.
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                for part in parts:
                    part += sign * 1e-5 * part.grad
                ends.append(model.item_representations())
                for part in parts:
                    part -= sign * 1e-5 * part.grad
        assert together == pytest.approx(cosine(ends[0] - ends[1], torch.stack(adapted)), abs=1e-5)
    squares = [float((p.grad**2).sum()) for p in parts]
    assert id_norm == pytest.approx(sum(squares) ** 0.5)
    assert modal_norm == pytest.approx(sum(float((p.grad**2).sum()) for p in model.adapters.parameters()) ** 0.5)


def test_apart_is_the_gradient_of_the_loss_with_one_part_alone() -> None:
    model, batch, (_, _, _, apart, _, _) = measured(small.run(**NAIVE))
    modal = torch.stack([a(model.item_data[f"features.{name}"], None) for name, a in model.adapters.items()]).detach()
    gradients = []
    for part in (model.ids.weight.detach().expand(2, -1, -1).clone(), modal):
        items = part.requires_grad_()
        states = model.encoder(items[:, batch.items], batch)
        logits = states @ items.flatten(0, 1).T / model.config.temperature
        own = torch.stack([logits[..., batch.targets + 40 * m].diagonal(dim1=1, dim2=2) for m in (0, 1)])
        loss = (torch.logsumexp(logits, -1) - torch.logsumexp(own, 0)).sum(0).mean()
        gradients.append(torch.autograd.grad(loss, items)[0])
    assert apart == pytest.approx(cosine(*gradients), abs=1e-6)
    assert -1 < apart < 1


def test_the_first_steps_and_then_every_so_many() -> None:
    run = small.run(**NAIVE)
    data = small.sequences()
    observer = GradientProbe(small.model(data, run, "fit"), 20)
    batch = next(iter(observer.model.samples(data, run.train.stage("fit")).epoch(64, torch.Generator())))
    for step in range(100):
        observer(step // 6, step, batch)
    assert observer.table()["step"].to_list() == [*range(FIRST), 60, 80]
    assert observer.table()["cosine"].null_count() == FIRST + 2, "no gradients yet, no direction"


def test_the_step_writes_one_row_per_measured_step(tmp_path: Path) -> None:
    data, run, items = small.sequences(), small.run(**NAIVE), [f"i{number}" for number in range(40)]
    write_vocab(tmp_path / "vocab", items)
    data.write(tmp_path / "sequences")
    known = small.item_data(data, run)
    features = [tmp_path / "text.safetensors", tmp_path / "image.safetensors"]
    for file in features:
        x = known[f"features.{file.stem}"].numpy()
        FeatureFile(items=items, x=x, present=np.ones(40, dtype=bool), metadata={}).write(file)
    named = {name: tmp_path / name for name in ("vocab", "sequences", "gradients", "state")}
    gradient_probe(run=run, seed=0, **named, features=features, interests=[], every=5, code="tested")
    frame = pl.read_parquet(tmp_path / "gradients")
    assert frame.schema == pl.Schema(GRADIENTS)
    assert frame["epoch"].to_list() == sorted(frame["epoch"].to_list())
    assert frame["cosine"].is_between(-1, 1).all()
    assert (frame["id_norm"] > 0).all()


@pytest.mark.parametrize(
    ("model", "stage"), [({}, "stage2"), ({"phased": False, "ids": False}, "fit"), ({"name": "sasrec"}, "fit")]
)
def test_a_run_without_joint_training_is_refused(model: dict[str, Any], stage: str) -> None:
    data, run = small.sequences(), small.run(**model)
    with pytest.raises(DecorecError, match=r"model\.phased: false"):
        GradientProbe(small.model(data, run, stage), 1)
