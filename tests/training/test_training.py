"""The training loop and the checkpoints."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from decorec.artifacts.files import read_json
from decorec.config.runs import with_values
from decorec.data.batches import histories
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError, UnfitValuesError
from decorec.evaluation import full_ranking
from decorec.evaluation.full_ranking import rank_by_history, rank_users
from decorec.evaluation.metrics import parse_metric
from decorec.models import checkpoint
from decorec.models.registry import MODELS
from decorec.training.loop import train_model, validate
from decorec.training.optimizer import build_optimizer
from tests.support import small

FITTED = [(name, "fit") for name in MODELS if name != "decorec"]
STAGES = [("decorec", "stage1"), ("decorec", "stage2"), *FITTED]
STEPS_TO_OVERFIT = {"dimo": 120, "mmmlp": 150, "esasrec": 60, "gru4rec": 150, "sasrec-features": 80, "hm4sr": 40}
SOFTMAX = [("sasrec", "fit"), ("gru4rec", "fit"), ("decorec", "stage1"), ("decorec", "stage2")]
"""Those whose loss is a softmax over the representations themselves, all or a sample of them."""
PREFIXES = [(name, "fit") for name in ("missrec", "mmmlp", "dimo")]
"""Those that are trained on one row per prefix."""
TRAINED = [(name, stage) for name, stage in STAGES if name not in small.FLOORS]


@pytest.mark.parametrize(("name", "stage"), TRAINED)
def test_each_model_overfits_64_users(name: str, stage: str) -> None:
    data = small.sequences(users=64, items=200, seed=3)
    random = np.random.default_rng(0).permutation(len(data.items)) % 200
    data = replace(data, items=random.astype(np.int32))
    run = small.run(name=name, dim=48)
    model = small.model(data, run, stage, items=200, width=96)
    options = {"learning_rate": 3e-3, "id_learning_rate": 3e-3}
    config = run.train.stage(stage).model_copy(update=options)
    adam = build_optimizer(model, config)
    samples, generator = model.samples(data, config), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model.before_epoch()
    steps = 0
    while steps < STEPS_TO_OVERFIT.get(name, 250):
        for batch in samples.epoch(100_000, generator):  # everything at once
            adam.zero_grad()
            model.loss(batch).backward()
            adam.step()
            steps += 1
    # Asked for the last item of the training part, which it has seen as a target.
    found = rank_users(model, replace(data.training(), split=None), "test")
    assert parse_metric("Hit@1")(found).mean() > 0.9


def test_two_trainings_with_one_seed_are_bit_identical_and_seeds_differ() -> None:
    data = small.sequences()
    run = small.run(encoder={"dropout": 0.3, "heads": 2})

    def weights(seed: int) -> list[torch.Tensor]:
        model = small.model(data, run, "stage2", seed)
        train_model(model, data, run.train.stage("stage2"), seed)
        return [parameter.detach() for parameter in model.parameters()]

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_the_best_epoch_is_kept_and_patience_ends_training() -> None:
    data = small.sequences()
    run = small.run()
    model = small.model(data, run, "stage1")
    options = {"epochs": 60, "patience": 4, "learning_rate": 0.05}
    history = train_model(model, data, run.train.stage("stage1").model_copy(update=options), 0)
    best = history.filter("best")
    assert len(best) == 1
    assert best["NDCG@10"][0] == history["NDCG@10"].max()
    assert len(history) == 60 or len(history) - 1 - best["epoch"][0] == 4
    found = rank_users(model, data, "valid")
    assert parse_metric("NDCG@10")(found).mean() == pytest.approx(best["NDCG@10"][0], abs=1e-6)
    ended, least = len(history), len(history) + 5
    stage = run.train.stage("stage1").model_copy(update=options | {"least_epochs": least})
    longer = train_model(small.model(data, run, "stage1"), data, stage, 0)
    assert ended < 60 and len(longer) >= least and longer["loss"][:ended].to_list() == history["loss"].to_list()


@pytest.mark.parametrize("epochs", [None, 2])
def test_a_training_that_diverges_ends_also_where_nothing_is_validated(epochs: int | None) -> None:
    data, run = small.sequences(), with_values(small.run(name="sasrec"), {"train.learning_rate": 1e30})
    model = small.model(data, run, "fit")
    with pytest.raises(UnfitValuesError, match=r"one, epoch 0: expected a finite loss, found nan; .* lower train"):
        train_model(model, data, run.train.stage("fit"), 0, "one", epochs=epochs)


def test_monitoring_the_validation_loss() -> None:
    data = small.sequences()
    run = small.run()
    stage = run.train.stage("stage1").model_copy(update={"monitor": "loss", "epochs": 5})
    history = train_model(small.model(data, run, "stage1"), data, stage, 0)
    assert history.filter("best")["valid_loss"][0] == history["valid_loss"].min()


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "unisrec"])
def test_the_validation_loss_is_that_of_what_is_ranked(name: str) -> None:
    data = small.sequences(users=9)
    model = small.model(data, small.run(name=name), "fit").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    expected = 0.0
    for user, target in enumerate(data.targets("valid")):
        batch = histories(data, "valid", 50).batch(np.array([user]))
        with torch.no_grad():
            shares = model.log_shares(model.scores(batch, model.item_representations()))
        expected -= float(shares[0, target]) / 9
    assert validate(model, data, "loss")["valid_loss"] == pytest.approx(expected, rel=1e-5)


def test_rounded_figures_let_a_later_equal_epoch_win() -> None:
    data = small.sequences()
    run = small.run()
    options = {"monitor": "NDCG@11", "learning_rate": 0.05, "epochs": 40, "patience": 40}
    histories = []
    for decimals in (None, 1):
        stage = run.train.stage("stage1").model_copy(update=options | {"decimals": decimals})
        histories.append(train_model(small.model(data, run, "stage1"), data, stage, 0))
    exact, rounded = histories
    assert exact.filter("best")["NDCG@11"][0] == exact["NDCG@11"].max()
    equal = rounded.filter(pl.col("NDCG@11").round(1) == round(rounded["NDCG@11"].max(), 1))["epoch"]
    assert len(equal) > 1
    assert rounded.filter("best")["epoch"][0] == equal.max()


def test_stale_gradients_pile_up_only_where_nothing_is_trained() -> None:
    data = small.sequences()
    run = small.run(interest_mlp=False)
    norms = []
    for stale in (False, True):
        stage = run.train.stage("stage2").model_copy(
            update={"id_learning_rate": 0.0, "stale_gradients": stale, "clip": 1e9}
        )
        model = small.model(data, run, "stage2")
        before = model.ids.weight.detach().clone()
        train_model(model, data, stage, 0)
        assert torch.equal(model.ids.weight, before)
        norms.append([float(p.grad.norm()) for p in (model.ids.weight, model.encoder.blocks[0].up.weight)])
    (fresh, moving), (piled, still_moving) = norms
    assert piled > 3 * fresh
    assert still_moving == pytest.approx(moving)


def test_weight_averaging_and_warm_up_change_the_result() -> None:
    data = small.sequences()
    run = small.run()
    results = []
    for options in ({}, {"averaging": 0.0}, {"warmup_epochs": 2.0}, {"restart": False}):
        model = small.model(data, run, "stage1")
        train_model(model, data, run.train.stage("stage1").model_copy(update=options), 0)
        results.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    for index, one in enumerate(results):
        for other in results[index + 1 :]:
            assert not torch.equal(one, other)


def naive_rank(model: Any, data: Sequences, user: int, split: str) -> tuple[int, int]:
    """Of one user by itself, with every score from its definition (eq. 16 to 18)."""
    history = histories(data, split, 50).batch(np.array([user]))  # type: ignore[arg-type]
    with torch.no_grad():
        representations = model.item_representations()
        states = model._states(history, representations)[:, 0]
        if len(representations) == 1:
            scores = [float(states[0] @ item) for item in representations[0]]
        else:
            exponentials = [[[float(torch.exp(s @ i / 2.0)) for i in c] for c in representations] for s in states]
            weighted = [np.sum(e, axis=0) / np.sum(e) for e in exponentials]
            scores = list(np.sum(weighted, axis=0))
    own = scores[int(history.targets)]
    slack = 1e-12 * abs(own)  # items with the same representation tie, whatever the order of summation
    equal = sum(abs(score - own) <= slack for score in scores) - 1
    return sum(score - own > slack for score in scores), equal


@pytest.mark.parametrize(("name", "stage"), SOFTMAX)
@pytest.mark.parametrize("split", ["valid", "test"])
def test_ranks_in_blocks_are_the_naive_ones(name: str, stage: str, split: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small.sequences(users=20)
    model = small.model(data, small.run(name=name), stage).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    monkeypatch.setattr(full_ranking, "LOGITS_AT_ONCE", 1)
    monkeypatch.setattr(full_ranking, "FEWEST_AT_ONCE", 3)
    expected = [naive_rank(model, data, user, split) for user in range(20)]
    assert len(set(expected)) > 5
    found = rank_users(model, data, split)
    assert list(zip(found.higher, found.equal, strict=True)) == expected


@pytest.mark.parametrize(("name", "stage"), SOFTMAX)
def test_sampled_negatives_train_and_the_seed_decides(name: str, stage: str) -> None:
    data = small.sequences()
    run = small.run(name=name)
    results = []
    for options, seed in (({"negatives": 20}, 0), ({"negatives": 20}, 0), ({"negatives": 20}, 1), ({}, 0)):
        model = small.model(data, run, stage)
        history = train_model(model, data, run.train.stage(stage).model_copy(update={"epochs": 2} | options), seed)
        assert np.isfinite(history["loss"].to_numpy()).all()
        results.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[3])


@pytest.mark.parametrize(("key", "expected", "found"), [("negatives", "all", 20), ("horizon", "1", 3)])
def test_a_model_refuses_what_its_loss_does_not_heed(key: str, expected: str, found: int) -> None:
    data = small.sequences()
    run = small.run(name="bert4rec")
    model = small.model(data, run, "fit")
    with pytest.raises(DecorecError, match=rf"train\.{key}: expected {expected}.*bert4rec.*found {found}"):
        train_model(model, data, run.train.stage("fit").model_copy(update={key: found}), 0)


@pytest.mark.parametrize(
    "options", [{"name": "hm4sr"}, {"name": "vstan", "l2": 50}, {"name": "vstan", "sample_size": 9}]
)
def test_a_model_that_reads_times_is_refused_where_there_are_none(options: dict[str, Any]) -> None:
    data = replace(small.sequences(), timestamps=None)
    run = small.run(**options)
    with pytest.raises(
        DecorecError, match=r"expected sequences with the time stamp .* found none.*; leave this run out"
    ):
        train_model(small.model(data, run, "fit"), data, run.train.stage("fit"), 0)


@pytest.mark.parametrize(("name", "stage"), [*SOFTMAX, ("unisrec", "fit"), *PREFIXES])
def test_a_horizon_trains_on_later_items_too(name: str, stage: str) -> None:
    data = small.sequences()
    run = small.run(name=name)
    models = []
    for horizon in (1, 3):
        model = small.model(data, run, stage)
        train_model(
            model, data, run.train.stage(stage).model_copy(update={"epochs": 30, "patience": 30, "horizon": horizon}), 0
        )
        models.append(model)
    # Walks go one or two items ahead: what comes two steps later is up to four away.
    batch = histories(data, "valid", 50).batch(np.arange(60))
    ahead = (batch.items[batch.predict][:, None] + torch.tensor([3, 4])) % 40
    scores = [torch.log_softmax(model.eval().scores(batch, model.item_representations()), 1) for model in models]
    near, far = (score.gather(1, ahead).mean() for score in scores)
    assert far > near


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_loss_of_an_epoch_is_the_mean_over_its_targets_however_they_are_divided(horizon: int) -> None:
    data, run = small.sequences(), small.run(name="sasrec")
    values = {"epochs": 1, "horizon": horizon, "learning_rate": 1e-30, "averaging": 0.0}
    losses = []
    for batch_size in (7, 10_000):
        model = small.model(data, run, "fit")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(30)  # or the losses of all targets are nearly those of chance
        config = run.train.stage("fit").model_copy(update=values | {"batch_size": batch_size})
        losses.append(train_model(model, data, config, 0)["loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "warned"), [("fma avx2", True), ("fma avx2 avx512_bf16", False), ("fma amx_bf16", False)]
)
def test_a_precision_that_the_processor_emulates_is_said(
    flags: str, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr("decorec.processor.CPUINFO", tmp_path / "cpuinfo")
    data, run = small.sequences(), small.run(name="sasrec")
    for precision, expected in (("bf16", warned), ("fp32", False)):
        config = run.train.stage("fit").model_copy(update={"precision": precision, "epochs": 1})
        caplog.clear()
        train_model(small.model(data, run, "fit"), data, config, 0)
        assert ("has no instructions for" in caplog.text) == expected


def test_what_is_ranked_after_stage_2_in_bf16_is_what_chose_its_best_epoch() -> None:
    data, run = small.sequences(), small.run()
    model = small.model(data, run, "stage2")
    train_model(model, data, run.train.stage("stage2").model_copy(update={"precision": "bf16"}), 0)
    again = small.model(data, run, "stage2", seed=1)
    again.load_state_dict(model.own_state(), strict=False)
    with torch.no_grad():
        assert torch.equal(model.item_representations(), again.item_representations())


@pytest.mark.parametrize(("name", "stage"), TRAINED)
def test_bf16_trains_to_identical_bytes_twice(name: str, stage: str) -> None:
    data = small.sequences()
    run = small.run(name=name)
    config = run.train.stage(stage).model_copy(update={"precision": "bf16"})
    results = []
    for _ in range(2):
        model = small.model(data, run, stage)
        history = train_model(model, data, config, 0)
        results.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert history["loss"][-1] < history["loss"][0]
    assert torch.equal(*results)


def test_the_whole_history_is_masked_and_not_only_what_the_model_sees() -> None:
    data = small.sequences(users=12, items=40, shortest=20, longest=25)
    run = small.run(name="popularity", length=5)
    model = small.model(data, run, "fit")
    model.observe(data.training())
    counts = np.bincount(data.training().items, minlength=40)
    expected = []
    for user in range(12):
        *past, target = data.items[data.offsets[user] : data.offsets[user + 1]].tolist()
        scores = np.where(np.isin(np.arange(40), past), -np.inf, counts)
        scores[target] = counts[target]
        expected.append(((scores > counts[target]).sum(), (scores == counts[target]).sum() - 1))
    found = rank_by_history(model, data, "test")["masked"]
    assert list(zip(found.higher, found.equal, strict=True)) == expected


def test_masked_history_never_ranks_above_the_target() -> None:
    data = small.sequences()
    model = small.model(data, small.run(), "stage1")
    kept, masked = rank_by_history(model, data, "test").values()
    assert (masked.higher <= kept.higher).all()
    assert (masked.higher < kept.higher).any()
    assert (masked.equal <= kept.equal).all()


EXPERTS = {"neighbourhood": 1, "repeats": "counted", "floor": {"name": "content-ease"}}


@pytest.mark.parametrize(
    ("name", "stage", "experts"),
    [*((*pair, {}) for pair in STAGES), ("decorec", "stage2", EXPERTS), ("sasrec", "fit", EXPERTS)],
)
def test_a_checkpoint_reloads_to_identical_ranks(
    name: str, stage: str, experts: dict[str, Any], tmp_path: Path
) -> None:
    data = small.sequences()
    run = small.run(experts, name=name)
    model = small.model(data, run, stage)
    train_model(model, data, run.train.stage(stage), 0)
    items = [f"item {number}" for number in range(40)]
    files = tmp_path / "model.safetensors", tmp_path / "config.json"
    small.save(model, run, 0, items, *files)
    loaded = checkpoint.load(*files)
    assert (loaded.items, loaded.run, loaded.stage, loaded.seed) == (items, run, stage, 0)
    assert rank_users(loaded.model, data, "test") == rank_users(model, data, "test")


def damaged(path: Path, kind: str) -> None:
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()


@pytest.mark.parametrize("kind", ["cut", "missing"])
def test_a_damaged_checkpoint_is_named(kind: str, tmp_path: Path) -> None:
    data = small.sequences()
    run = small.run()
    files = tmp_path / "model.safetensors", tmp_path / "config.json"
    small.save(small.model(data, run, "stage1"), run, 0, [str(i) for i in range(40)], *files)
    damaged(files[0], kind)
    with pytest.raises(DecorecError, match=r"model\.safetensors"):
        checkpoint.load(*files)


def test_a_damaged_configuration_beside_a_model_is_named(tmp_path: Path) -> None:
    data, run = small.sequences(), small.run()
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    small.save(small.model(data, run, "stage1"), run, 0, [str(i) for i in range(40)], weights, config)
    right = read_json(config)  # without its seal, which would tell as well
    for found, message in [
        ([], "valid dictionary"),
        ({"stage": "stage1"}, "run: required key is missing"),
        (right | {"run": {"model": {"name": "other"}}}, "run.model.name: expected one of .*, found 'other'"),
        (right | {"stage": "fit"}, "stage: expected one of stage1, stage2, found 'fit'"),
        (right | {"seed": "x"}, "seed: "),
        (right | {"stage": "stage2"}, r"model\.safetensors: expected the weights that .*config\.json describes"),
    ]:
        config.write_text(json.dumps(found))
        with pytest.raises(DecorecError, match=r"config\.json[\s\S]*train the run again") as caught:
            checkpoint.load(weights, config)
        assert re.search(message, str(caught.value))


def test_weights_of_another_run_are_refused(tmp_path: Path) -> None:
    data = small.sequences()
    items = [str(i) for i in range(40)]
    options: list[dict[str, Any]] = [{}, {"interests": False}]
    for index, option in enumerate(options):
        run = small.run(**option)
        folder = tmp_path / str(index)
        small.save(
            small.model(data, run, "stage2"), run, 0, items, folder / "model.safetensors", folder / "config.json"
        )
    with pytest.raises(DecorecError, match="interests"):
        checkpoint.load(tmp_path / "0/model.safetensors", tmp_path / "1/config.json")
