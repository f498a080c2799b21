"""The models that the paper does not compare, against their definitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from decorec.config.contenders import EsasrecConfig, Hm4srConfig
from decorec.data.batches import histories, training_windows
from decorec.data.sequences import Sequences
from decorec.models import checkpoint
from decorec.models.base import Recommender
from decorec.models.esasrec import LigrLayer
from decorec.models.gru4rec import GRU4Rec
from decorec.models.hm4sr import HM4SR, Mixtures, _contrast, _one_of_each, gap_index
from decorec.models.sasrec_features import SASRecFeatures
from decorec.nn.sampled_softmax import Sampler
from decorec.training.loop import train_model
from tests.support import small

NAMES = ["esasrec", "gru4rec", "sasrec-features", "hm4sr"]
PLAIN: dict[str, dict[str, Any]] = {"hm4sr": {"auxiliary": 0.0}}
"""Without what is added to the cross-entropy."""


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_cross_entropy_and_heeds_horizon_and_negatives(name: str) -> None:
    data = small.sequences(users=12)
    model = small.model(data, small.run(name=name, **PLAIN.get(name, {})), "fit").double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    representations = model.item_representations()
    for horizon in (1, 3):
        batch = training_windows(data, 50, horizon=horizon).batch(np.arange(12))
        targets = batch.targets.view(len(batch.predict), horizon)
        logs = torch.log_softmax(model.scores(batch, representations), 1).gather(1, targets.clamp(min=0))
        weights = (targets >= 0) / torch.arange(1, horizon + 1)  # the k-th of the next items counts 1 / k
        torch.testing.assert_close(model.loss(batch), -(logs * weights).sum() / weights.sum())
    model.sampler = Sampler(data.items, 40, 5, 0)
    assert model.loss(batch) != model.loss(batch), "each draws its own"


# eSASRec


def ligr(gate: float, **options: Any) -> tuple[list[LigrLayer], torch.Tensor]:
    """Two layers with gates of weight 0 and bias ``gate``, and packed sequences [1, T, D]."""
    torch.manual_seed(0)
    config = EsasrecConfig(name="esasrec", dim=16, dropout=0.0, **options)
    layers = [LigrLayer(config) for _ in range(2)]
    for layer in layers:
        for linear in (layer.attention_gate, layer.hidden_gate):
            nn.init.zeros_(linear.weight)
            nn.init.constant_(linear.bias, gate)
    return layers, torch.randn(1, 9, 16)


def test_closed_gates_are_the_identity_and_gates_at_zero_count_half() -> None:
    groups = training_windows(small.sequences(users=1, shortest=12, longest=12), 50).batch(np.arange(1)).groups
    layers, x = ligr(-30.0)
    for layer in layers:
        torch.testing.assert_close(layer(x, groups, None, False), x, rtol=0, atol=1e-9)
    (layer, _), x = ligr(0.0, heads=2)
    # The branches from torch's own parts.
    reference = nn.MultiheadAttention(16, 2, batch_first=True)
    state = {"in_proj_weight": layer.attention.qkv.weight, "in_proj_bias": layer.attention.qkv.bias}
    state |= {"out_proj.weight": layer.attention.out.weight, "out_proj.bias": layer.attention.out.bias}
    reference.load_state_dict(state)
    future = torch.ones(9, 9, dtype=torch.bool).triu(1)
    u = functional.layer_norm(x, (16,))
    y = x + reference(u, u, u, attn_mask=future)[0] / 2
    u, hidden = functional.layer_norm(y, (16,)), layer.hidden
    expected = y + (functional.silu(u @ hidden.gated.weight.T) * (u @ hidden.up.weight.T)) @ hidden.down.weight.T / 2
    torch.testing.assert_close(layer(x, groups, None, False), expected, rtol=1e-4, atol=1e-5)


def test_a_ligr_layer_has_as_many_parameters_as_published() -> None:
    layer = LigrLayer(EsasrecConfig(name="esasrec", dim=64, expansion=4, heads=1))
    assert sum(parameter.numel() for parameter in layer.parameters()) == 74_368


def test_matrices_of_esasrec_start_xavier_normal() -> None:
    model = small.model(small.sequences(), small.run(name="esasrec", dim=64), "fit", items=1000)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            assert float(parameter.detach().std()) == pytest.approx((2 / sum(parameter.shape)) ** 0.5, rel=0.1), name


# GRU4Rec


def test_gru4rec_without_weights_ranks_by_the_bias_of_the_items() -> None:
    data = small.sequences(users=8)
    model = small.model(data, small.run(name="gru4rec", layers=2), "fit").eval()
    assert isinstance(model, GRU4Rec)
    for parameter in model.encoder.parameters():
        nn.init.zeros_(parameter)
    nn.init.normal_(model.bias)
    batch, representations = histories(data, "test", 50).batch(np.arange(8)), model.item_representations()
    assert not model._states(batch, representations)[..., :-1].any()
    assert torch.equal(model.scores(batch, representations), model.bias.T.expand(8, -1))


def test_gru4rec_follows_the_cell_and_forgets_the_sequence_before() -> None:
    """h = (1 - z) n + z h with n = tanh(W x + b + r (U h + c)), one sequence after the other, each from zeros."""
    data = small.sequences(users=12)
    model = small.model(data, small.run(name="gru4rec"), "fit").double().eval()
    assert isinstance(model, GRU4Rec)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    (layer,) = model.encoder.layers  # type: ignore[misc]
    windows = training_windows(data, 50)
    batch = windows.batch(np.arange(len(windows)))
    expected = []
    for row in range(int(batch.rows().max()) + 1):
        h = torch.zeros(16, dtype=torch.float64)
        for item in batch.items[batch.rows() == row]:
            given = layer.weight_ih_l0 @ model.items.weight[item] + layer.bias_ih_l0
            (r, z, n), (u_r, u_z, u_n) = given.view(3, -1), (layer.weight_hh_l0 @ h + layer.bias_hh_l0).view(3, -1)
            r, z = torch.sigmoid(r + u_r), torch.sigmoid(z + u_z)
            h = (1 - z) * torch.tanh(n + r * u_n) + z * h
            expected.append(model.items.weight @ h + model.bias[:, 0])
    torch.testing.assert_close(model.scores(batch, model.item_representations()), torch.stack(expected))


# SASRec with features


def features(data: Sequences, seed: int = 0, **options: Any) -> SASRecFeatures:
    model = small.model(data, small.run(name="sasrec-features", **options), "fit", seed).eval()
    assert isinstance(model, SASRecFeatures)
    return model


def scores_of(model: Recommender, data: Sequences) -> torch.Tensor:
    """[U, I] in the order of the length of the histories."""
    batch = histories(data, "test", 50).batch(np.arange(len(data.users)))
    with torch.no_grad():
        return model.scores(batch, model.item_representations())


@pytest.mark.parametrize("sides", ["both", "history"])
def test_features_of_zero_leave_sasrec(sides: str) -> None:
    data = small.sequences(users=12)
    model, plain = features(data, sides=sides), small.model(data, small.run(name="sasrec"), "fit").eval()
    assert not torch.equal(scores_of(model, data), scores_of(plain, data))
    for name in ("text", "image"):
        model.item_data[f"features.{name}"].zero_()
    assert torch.equal(scores_of(model, data), scores_of(plain, data))


@pytest.mark.parametrize("fusion", ["sum", "concat"])
@pytest.mark.parametrize("sides", ["both", "history"])
def test_features_of_an_item_in_no_history_change_its_own_score_at_most(sides: str, fusion: str) -> None:
    data = small.sequences(users=12)
    data = Sequences(data.users, data.offsets, np.where(data.items == 7, 8, data.items).astype(np.int32))
    model = features(data, sides=sides, fusion=fusion)
    before = scores_of(model, data)
    model.item_data["features.image"][7] += 1
    changed = (scores_of(model, data) != before).any(0)
    assert changed.nonzero().flatten().tolist() == ([7] if sides == "both" else [])
    model.item_data["features.image"][8] += 1
    assert (scores_of(model, data) != before).any(0).sum() > 30


@pytest.mark.parametrize("sides", ["both", "history"])
def test_a_layer_of_identities_makes_a_sum_of_a_concatenation(sides: str) -> None:
    data = small.sequences(users=12)
    summed, joined = features(data, sides=sides), features(data, 1, sides=sides, fusion="concat")
    nn.init.normal_(summed.bias)
    joined.load_state_dict(summed.state_dict(), strict=False)
    joined.fusion.weight.data = torch.eye(16).repeat(1, 3)
    joined.fusion.bias.data = summed.bias.data
    torch.testing.assert_close(scores_of(joined, data), scores_of(summed, data))


def test_items_without_ids_and_with_the_same_features_tie() -> None:
    data = small.sequences(users=12)
    model = features(data, feature_norm="unit")
    model.items.weight.data.zero_()
    for name in ("text", "image"):
        x = model.item_data[f"features.{name}"]
        x[5] = 3 * x[20]  # of another length: unit features do not see it
    scores = scores_of(model, data)
    torch.testing.assert_close(scores[:, 5], scores[:, 20])
    assert not torch.allclose(scores[:, 5], scores[:, 21])


# HM4SR


def hm4sr(data: Sequences, **options: Any) -> HM4SR:
    model = small.model(data, small.run(name="hm4sr", **options), "fit")
    assert isinstance(model, HM4SR)
    return model


def test_the_gap_is_told_in_hundredths_of_a_doubling_and_in_the_unit_of_the_data() -> None:
    assert gap_index(torch.tensor([0, 1, 86_400])).tolist() == [0, 100, 1_639]
    days = np.array([5, 5, 6, 20, 30, 1, 2, 9, 40, 50])  # training parts: 5, 5, 6 and 1, 2, 9
    data = Sequences(["u", "v"], np.array([0, 5, 10]), np.arange(10, dtype=np.int32), 1_400_000_000 + days * 86_400)
    clock = hm4sr(data).clock
    clock.observe(data.training())
    assert (clock.unit, clock.span) == (86_400, 8 * 86_400)
    assert len(clock.gaps) == 1 + 300, "the largest gap of the training part is 7 days"
    told = clock(histories(data, "test", 50).batch(np.arange(2)))
    rows = [[0, 0, 100, 300], [0, 100, 300, 300]]  # those of 14 and of 31 days are the last row
    assert torch.equal(told[:, :16], clock.gaps[torch.tensor([*rows[0], *rows[1]])])


def test_temporal_experts_are_trained_and_stored(tmp_path: Path) -> None:
    data, run = small.sequences(), small.run(name="hm4sr")
    model = hm4sr(data)
    experts = model.encoder.mixtures.time_experts
    before = experts.detach().clone()
    train_model(model, data, run.train.stage("fit").model_copy(update={"epochs": 1}), 0)
    assert (experts != before).all() and experts.shape == (4, 3, 16)
    files = tmp_path / "model.safetensors", tmp_path / "config.json"
    small.save(model, run, 0, [f"i{n}" for n in range(40)], *files)
    again = checkpoint.load(*files).model
    assert isinstance(again, HM4SR)
    assert torch.equal(again.encoder.mixtures.time_experts, experts)
    assert torch.equal(again.clock.gaps, model.clock.gaps) and len(again.clock.gaps) < 1_000
    assert torch.equal(scores_of(again, data), scores_of(model, data))


def test_hm4sr_without_its_mixtures_is_the_sum_of_three_sasrecs() -> None:
    data = small.sequences(users=12)
    model = hm4sr(data).eval()
    nn.init.zeros_(model.encoder.mixtures.weights)
    assert not torch.allclose(scores_of(model, data), three_sasrecs(model, data), rtol=0.1)
    nn.init.ones_(model.encoder.mixtures.time_experts)
    torch.testing.assert_close(scores_of(model, data), three_sasrecs(model, data))


def three_sasrecs(model: HM4SR, data: Sequences) -> torch.Tensor:
    """Scores by ids, by texts and by pictures; the positions are shared."""
    found = []
    for table, encoder in zip(model.item_representations()[0].split(16, 1), model.encoder.encoders, strict=True):
        sasrec = small.model(data, small.run(name="sasrec"), "fit").eval()
        weights = {f"encoder.{name}": x for name, x in encoder.state_dict().items()}
        weights |= {"encoder.positions.weight": model.encoder.positions.weight, "items.weight": table}  # type: ignore[union-attr]
        sasrec.load_state_dict(weights, strict=False)
        found.append(scores_of(sasrec, data))
    return torch.stack(found).sum(0)


def test_mixtures_follow_their_definition() -> None:
    torch.manual_seed(0)
    mixtures = Mixtures(Hm4srConfig(name="hm4sr", dim=6, experts=3))
    nn.init.normal_(mixtures.weights)
    x, clock = torch.randn(3, 5, 6), torch.randn(5, 12)
    found = mixtures(x, clock)
    for t in range(5):
        u = x[:, t].flatten()
        experts = (mixtures.experts.weight @ u + mixtures.experts.bias).view(3, 3, 6)
        q = torch.softmax(mixtures.time_gate.weight @ clock[t] + mixtures.time_gate.bias, 0)
        for m, gate in enumerate(mixtures.gates):
            g = torch.softmax(gate.weight @ x[m, t] + gate.bias, 0)
            mixed = x[m, t] + mixtures.weights[m] * sum(g[k] * experts[k, m] for k in range(3))
            torch.testing.assert_close(found[m, t], mixed * sum(q[k] * mixtures.time_experts[k, m] for k in range(3)))


def test_a_time_changes_no_state_before_it_and_that_of_the_target_none() -> None:
    data = small.sequences(users=1, shortest=9, longest=9)
    model = hm4sr(data).eval()

    def scores(place: int) -> torch.Tensor:
        assert data.timestamps is not None
        later = data.timestamps + 10**6 * (np.arange(9) >= place)
        batch = training_windows(replace(data, timestamps=later), 50).batch(np.arange(1))
        with torch.no_grad():
            return model.scores(batch, model.item_representations())

    assert torch.equal(scores(6), scores(9)), "the last prediction is made after six items"
    changed = (scores(5) - scores(9)).abs().amax(1)
    assert not changed[:5].any() and changed[5] > 0


def test_equal_times_are_finite() -> None:
    data = small.sequences()
    data = replace(data, timestamps=np.full(len(data.items), 1_500_000_000))
    model = hm4sr(data)
    model.observe(data.training())
    assert len(model.clock.gaps) == 1
    loss = model.loss(training_windows(data, 50).batch(np.arange(60)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss) and torch.isfinite(scores_of(model.eval(), data)).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_contrasts_use_one_prediction_of_each_sequence_and_what_came_before_it() -> None:
    data = small.sequences(users=30, shortest=5, longest=40)
    model = hm4sr(data)
    windows = training_windows(data, 50)
    batch = windows.batch(np.arange(len(windows)))
    drawn = torch.stack([_one_of_each(batch) for _ in range(1_000)])
    assert (batch.rows()[batch.predict[drawn]] == torch.arange(30)).all()
    assert torch.equal(drawn.unique(), torch.arange(len(batch.predict))), "any prediction may be drawn"
    ends = batch.predict[drawn[0]]
    x = torch.zeros(2, len(batch.items), 16)
    hidden = model._replaced(x, batch, ends, torch.ones(len(batch.items), 32)).any(2)
    assert torch.equal(hidden[0], hidden[1])
    rows, length = batch.rows(), batch.positions[ends] + 1
    assert not hidden[0][batch.positions >= length[rows]].any()
    assert torch.bincount(rows, hidden[0].double()).tolist() == [3 * n // 10 for n in length.tolist()]
    logits, targets = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]), torch.tensor([5, 5, 6])
    e = np.exp(np.arange(10.0))
    each = [-np.log(e[1] / (e[1] + 1 + e[3])), -np.log(e[5] / (1 + e[5] + e[6])), -np.log(e[9] / (e[7] + e[8] + e[9]))]
    assert float(_contrast(logits, targets)) == pytest.approx(np.mean(each))
