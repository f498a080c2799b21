"""The compared models against their definitions, and that none of them learns from what is held out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from decorec.config.encoder import EncoderConfig
from decorec.data.batches import Batch, histories, training_windows
from decorec.data.sequences import Sequences
from decorec.models import mmmlp
from decorec.models.base import Recommender
from decorec.models.bert4rec import BERT4Rec, MaskedSequences
from decorec.models.dimo import DIMO, Neighbours, principal_components
from decorec.models.item_data import ItemData
from decorec.models.missrec import MISSRec, lloyd
from decorec.models.mmmlp import MMMLP
from decorec.models.registry import MODELS, build
from decorec.models.unisrec import UniSRec
from decorec.nn.attention import _read
from decorec.nn.transformer import Block
from tests.support import small

BASELINES = [name for name in MODELS if name != "decorec"]
BY_ROW = ["missrec", "mmmlp", "dimo"]


def seeded(data: Sequences, stage: str = "fit", **options: Any) -> Recommender:
    """A model as training finds it before the first step; buffers hold what precedes an epoch."""
    run = small.run(**options)
    model = small.model(data, run, stage)
    model.observe(data.training())
    torch.manual_seed(0)
    model.before_epoch()
    return model


def batches(model: Recommender, data: Sequences, stage: str = "fit") -> list[Batch]:
    config = small.run(name=model.config.name).train.stage(stage)
    return list(model.samples(data, config).epoch(64, torch.Generator().manual_seed(0)))


def all_scores(model: Recommender, data: Sequences) -> Tensor:
    """[U, I] in the order of the users."""
    windows = histories(data, "test", model.config.length)
    scores = torch.empty(len(data.users), 40)
    with torch.no_grad():
        for chosen, batch in windows.in_order(10_000):
            scores[torch.from_numpy(chosen)] = model.eval().scores(batch, model.item_representations())
    return scores


def tensors_of(model: Recommender, data: Sequences) -> dict[str, Tensor]:
    """Everything that training starts from: weights, statistics, clusters, graph, neighbours, and the samples."""
    found = {**model.item_data.tensors(), **dict(model.named_buffers()), **dict(model.named_parameters())}
    if any(parameter.requires_grad for parameter in model.parameters()):
        for number, batch in enumerate(batches(model, data, model.stage)):
            found |= {f"{number}.items": batch.items, f"{number}.targets": batch.targets, f"{number}.at": batch.predict}
    return found


def of_two_modalities(name: str) -> bool:
    run = small.run(name=name)
    return {"features.text", "features.image"} <= set(run.needs(run.stages[-1]))


@pytest.mark.parametrize("name", filter(of_two_modalities, MODELS))
def test_texts_and_pictures_may_have_different_widths(name: str) -> None:
    """Another model encodes each of them."""
    data, run = small.sequences(users=25), small.run(name=name)
    stage = run.stages[-1]
    tensors = small.item_data(data, run).tensors()
    for kind in ("features", "centroids"):
        if f"{kind}.image" in tensors:
            tensors[f"{kind}.image"] = torch.cat([tensors[f"{kind}.image"], tensors[f"{kind}.image"][:, :5]], 1)
    torch.manual_seed(0)
    model = build(run, ItemData(40, tensors), stage)
    model.observe(data.training())
    model.before_epoch()
    if any(parameter.requires_grad for parameter in model.parameters()):
        loss = model.loss(batches(model, data, stage)[0])
        loss.backward()
        assert torch.isfinite(loss)
    assert torch.isfinite(all_scores(model, data)).any(1).all()


@pytest.mark.parametrize(("name", "stage"), [("decorec", "stage2"), *((name, "fit") for name in BASELINES)])
def test_held_out_items_change_nothing_that_training_starts_from(name: str, stage: str) -> None:
    data = small.sequences()
    ends = np.concatenate([data.offsets[1:] - 1, data.offsets[1:] - 2])
    other = data.items.copy()
    other[ends] = np.random.default_rng(5).permutation(other[ends])
    times = data.timestamps.copy()  # type: ignore[union-attr]
    times[ends] += 10**9
    changed = replace(data, items=other, timestamps=times)
    assert (changed.items != data.items).sum() > 60
    one, two = (tensors_of(seeded(d, stage, name=name), d) for d in (data, changed))
    assert one.keys() == two.keys()
    for key in one:
        assert torch.equal(one[key], two[key]), key
    # The comparison sees what it should: a changed training item shows.
    other = data.items.copy()
    other[data.offsets[:-1]] = (other[data.offsets[:-1]] + 1) % 40
    moved = tensors_of(seeded(replace(data, items=other), stage, name=name), data)
    assert one.keys() != moved.keys() or not all(torch.equal(one[key], moved[key]) for key in one)


@pytest.mark.parametrize(("name", "stage"), [("decorec", "stage2"), *((name, "fit") for name in BASELINES)])
def test_what_comes_after_the_training_part_changes_nothing_that_training_starts_from(name: str, stage: str) -> None:
    """Divided by time: everything later is deleted, of all users; some have nothing left."""
    data = small.by_time(small.sequences())
    only = data.training()
    assert not only.lengths.all() and len(only.items) < 0.8 * len(data.items)
    one, two = (tensors_of(seeded(d, stage, name=name), d) for d in (data, only))
    assert one.keys() == two.keys()
    for key in one:
        assert torch.equal(one[key], two[key]), key


@pytest.mark.parametrize("name", BASELINES)
def test_scores_do_not_depend_on_the_batch(name: str) -> None:
    data = small.sequences(users=20)
    model = seeded(data, name=name).eval()
    windows = histories(data, "test", 50)
    together = all_scores(model, data)
    with torch.no_grad():
        representations = model.item_representations()
        alone = torch.cat([model.scores(windows.batch(np.array([user])), representations) for user in range(20)])
    assert together[0].unique().numel() > 5
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def sized(name: str, length: int) -> dict[str, Any]:
    tiny = small.TINY_OF.get(name, small.TINY)
    if "encoder" in tiny:
        return {"name": name, "encoder": {**tiny["encoder"], "layers": 2, "positions": "learned", "length": length}}
    return {"name": name, "length": length}


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "mmmlp"])
def test_scores_do_not_depend_on_how_long_a_history_may_be(name: str) -> None:
    data = small.sequences(users=12)
    long, short = seeded(data, **sized(name, 60)), seeded(data, **sized(name, 50))
    kept = {key: value.shape for key, value in short.state_dict().items()}
    state = {key: value[: kept[key][0]] if kept[key] else value for key, value in long.state_dict().items()}
    short.load_state_dict(state)
    torch.testing.assert_close(all_scores(long, data), all_scores(short, data))


@pytest.mark.parametrize("name", BY_ROW)
def test_a_row_holds_what_precedes_its_target_and_no_more(name: str) -> None:
    data = small.sequences()
    found: Counter[tuple[tuple[int, ...], int]] = Counter()
    for batch in batches(seeded(data, name=name), data):
        assert len(batch.predict) == sum(len(group.lengths) for group in batch.groups)
        for row, target in enumerate(batch.targets.tolist()):
            found[tuple(batch.items[batch.rows() == row].tolist()), target] += 1
    expected: Counter[tuple[tuple[int, ...], int]] = Counter()
    training = data.training()
    for begin, end in zip(training.offsets, training.offsets[1:], strict=False):
        items = training.items[begin:end].tolist()
        expected.update((tuple(items[:t]), items[t]) for t in range(1, len(items)))
    assert found == expected


def test_little_of_a_batch_is_padding() -> None:
    data = small.sequences(users=200)
    for name in BY_ROW:
        for batch in batches(seeded(data, name=name), data):
            padded = sum(group.width * len(group.lengths) for group in batch.groups)
            assert padded < 1.5 * len(batch.items)


# BERT4Rec


def masked(data: Sequences, **options: Any) -> tuple[BERT4Rec, list[Batch]]:
    model = seeded(data, name="bert4rec", **options)
    assert isinstance(model, BERT4Rec)
    config = small.run(name="bert4rec").train.stage("fit")
    return model, list(model.samples(data, config).epoch(64, torch.Generator().manual_seed(1)))


def test_bert4rec_predicts_masked_items_and_sees_no_masked_one() -> None:
    data = small.sequences(users=100)
    _, found = masked(data)
    training = data.training()
    originals = Counter(tuple(training.items[b:e].tolist()) for b, e in zip(training.offsets, training.offsets[1:]))  # noqa: B905
    seen: Counter[tuple[int, ...]] = Counter()
    for batch in found:
        assert (batch.items[batch.predict] == 40).all()
        assert int((batch.items == 40).sum()) == len(batch.predict)
        filled = batch.items.clone()
        filled[batch.predict] = batch.targets
        for row in range(int(batch.rows().max()) + 1):
            seen[tuple(filled[batch.rows() == row].tolist())] += 1
    assert seen == Counter({key: 5 * count for key, count in originals.items()})  # five passes an epoch


def test_bert4rec_masks_as_often_as_asked_at_every_position() -> None:
    data = small.sequences(users=3000, shortest=10, longest=10)
    model, found = masked(data, mask=0.3, mask_last=0.5, passes=1)
    positions = torch.cat([batch.positions[batch.predict] for batch in found])
    share = torch.bincount(positions, minlength=8) / 3000
    assert torch.allclose(share[:7], torch.full((7,), 0.5 * 0.3), atol=0.03)  # position 0 as often as any other
    assert abs(float(share[7]) - (0.5 + 0.5 * 0.3)) < 0.04
    config = small.run(name="bert4rec").train.stage("fit")
    samples = model.samples(data, config)
    assert isinstance(samples, MaskedSequences)
    assert abs(samples.target_count - len(positions)) < 0.05 * len(positions)


def test_bert4rec_counts_position_0_in_the_loss() -> None:
    data = small.sequences(users=30)
    model, found = masked(data)
    first = next(batch for batch in found if (batch.positions[batch.predict] == 0).any())
    before = model.loss(first)
    where = (first.positions[first.predict] == 0).nonzero()[0]
    first.targets[where] = (first.targets[where] + 1) % 40
    assert model.loss(first) != before


def test_bert4rec_scores_a_mask_behind_the_last_item() -> None:
    data = small.sequences(users=8, shortest=6, longest=9)
    model, _ = masked(data)
    nn.init.normal_(model.bias)
    model.eval()
    for user in range(8):
        history = torch.from_numpy(data.items[data.offsets[user] : data.offsets[user + 1] - 1]).long()
        windows = training_windows(data, 50)  # any batch: its layout is replaced
        batch = windows.batch(np.array([0]))
        whole = torch.cat([history, torch.tensor([40])])
        group = type(batch.groups[0])(0, len(whole), len(whole), torch.tensor([len(whole)]), torch.arange(len(whole)))
        end = torch.tensor([len(whole) - 1])
        explicit = Batch(whole, torch.arange(len(whole)), (group,), end, batch.targets[:1], at_ends=True)
        with torch.no_grad():
            expected = model._states(explicit)[0] @ model.item_representations()[0].T
        torch.testing.assert_close(all_scores(model, data)[user], expected[0], rtol=1e-4, atol=1e-6)


# UniSRec


def test_unisrec_gates_start_uniform_and_evaluation_is_deterministic() -> None:
    data = small.sequences(users=10)
    model = seeded(data, name="unisrec", adaptor_dropout=0.2)
    assert isinstance(model, UniSRec)
    text = model.item_data["features.text"]
    torch.testing.assert_close(model.eval().adaptor.gates(text), torch.full((40, 8), 1 / 8))
    assert torch.equal(all_scores(model, data), all_scores(model, data))
    model.train()
    assert not torch.equal(model.item_representations(), model.item_representations())


def test_unisrec_adaptor_is_a_mixture_of_whitened_features() -> None:
    model = seeded(small.sequences(users=10), name="unisrec").eval()
    assert isinstance(model, UniSRec)
    adaptor = model.adaptor
    for parameter in adaptor.parameters():
        nn.init.normal_(parameter)
    x = model.item_data["features.text"]
    gates = torch.softmax(x @ adaptor.gate, 1)
    weights = torch.stack([expert.weight for expert in adaptor.experts])  # type: ignore[misc]
    expected = torch.einsum("ne,edf,nef->nd", gates, weights, x[:, None] - adaptor.shift)
    torch.testing.assert_close(adaptor(x), expected, rtol=1e-4, atol=1e-4)


# MISSRec


def test_missrec_fusion_is_the_mean_at_the_start_and_a_softmax_later() -> None:
    data = small.sequences(users=10)
    model = seeded(data, name="missrec", ids=False, temperature=1.0)
    assert isinstance(model, MISSRec)
    representations = model.item_representations()
    states = functional.normalize(torch.randn(5, 16), dim=1)
    text, image = (states @ functional.normalize(c, dim=1).T for c in representations)
    torch.testing.assert_close(model._logits(states, representations), (text + image) / 2)
    nn.init.constant_(model.fusion, 3.0)
    weights = torch.softmax(3 * torch.stack([text, image]), 0)
    torch.testing.assert_close(model._logits(states, representations), (weights * torch.stack([text, image])).sum(0))


def test_missrec_starts_its_projections_as_torch_does_and_the_rest_as_others() -> None:
    model = seeded(small.sequences(users=10), name="missrec", dim=64)
    assert isinstance(model, MISSRec)
    torch.manual_seed(0)
    published = nn.MultiheadAttention(64, 2).in_proj_weight
    decoder = model.decoder
    for read in (decoder.attention, decoder.cross):
        own = torch.cat([read.query.weight, read.key_value.weight])
        assert own.shape == published.shape and float(own.abs().max()) <= float(published.abs().max()) * 1.001
        assert float(own.std()) == pytest.approx(float(published.std()), rel=0.02)
        assert float(read.out.weight.std()) == pytest.approx(0.02, rel=0.05)  # type: ignore[union-attr]
    own = model.encoder.attention.qkv.weight
    assert float(own.std()) == pytest.approx(float(published.std()), rel=0.02)
    assert float(model.encoder.up.weight.std()) == pytest.approx(0.02, rel=0.05)


def test_missrec_interests_are_the_distinct_clusters_of_a_sequence() -> None:
    data = small.sequences(users=15)
    model = seeded(data, name="missrec", interest_ratio=0.1)
    assert isinstance(model, MISSRec)
    batch = batches(model, data)[0]
    clusters, owner, groups = model.interests(batch)
    for row in range(len(batch.targets)):
        expected = model.clusters[:, batch.items[batch.rows() == row]].unique()
        assert torch.equal(clusters[owner == row], expected)
    assert torch.equal(torch.cat([group.lengths for group in groups]), torch.bincount(owner))


def test_missrec_clusters_anew_before_an_epoch_and_keeps_it_in_its_state() -> None:
    model = seeded(small.sequences(users=10), name="missrec")
    assert {"centroids", "clusters"} <= model.own_state().keys()
    before = model.own_state()["centroids"].clone()
    model.before_epoch()
    assert not torch.equal(before, model.own_state()["centroids"])


def test_lloyd_finds_separate_groups_and_keeps_empty_clusters() -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [10.0, 0.0], [10.0, 1.0]])
    centroids, nearest = lloyd(x, torch.tensor([[1.0, 0.0], [9.0, 0.0], [99.0, 99.0]]), 2)
    assert nearest.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(centroids, torch.tensor([[0.0, 0.5], [10.0, 0.5], [99.0, 99.0]]))


# Layers


@pytest.mark.parametrize("modalities", [1, 2])
def test_reading_equals_attention_with_projected_keys_and_values(modalities: int) -> None:
    torch.manual_seed(0)
    dim, heads = 16, 4
    reference = nn.MultiheadAttention(dim, heads, batch_first=True, dtype=torch.float64)
    nn.init.normal_(reference.in_proj_bias)
    batch = training_windows(small.sequences(users=20), 12, "prefixes").batch(np.arange(40))
    tokens = torch.randn(modalities, len(batch.items), dim, dtype=torch.float64, requires_grad=True)
    query = torch.randn(modalities, len(batch.targets), dim, dtype=torch.float64, requires_grad=True)
    weight, bias = reference.in_proj_weight, reference.in_proj_bias
    projected = functional.linear(query, weight[:dim], bias[:dim])
    read = _read(projected, tokens, weight[dim:], bias[dim:], batch.groups, heads, 0.0)
    found = functional.linear(read, reference.out_proj.weight, reference.out_proj.bias)
    expected = torch.empty_like(found)
    for row in range(len(batch.targets)):
        own = tokens[:, batch.rows() == row]
        expected[:, row] = reference(query[:, row, None], own, own)[0][:, 0]
    torch.testing.assert_close(found, expected)
    direction, inputs = torch.randn_like(found), [query, tokens, weight]
    for one, two in zip(
        torch.autograd.grad((found * direction).sum(), inputs, retain_graph=True),
        torch.autograd.grad((expected * direction).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, two)


def test_a_block_over_rows_that_repeat_equals_one_over_all_of_them() -> None:
    torch.manual_seed(0)
    batch = training_windows(small.sequences(users=20), 12, "prefixes").batch(np.arange(40))
    config = EncoderConfig(layers=1, heads=2, feed_forward=24, dropout=0.0)
    block, table = Block(16, config, causal=False), torch.randn(1, 40, 16)
    whole = block(table.index_select(1, batch.items), batch.groups)
    torch.testing.assert_close(block(table, batch.groups, rows=batch.items), whole)


# MMMLP


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_mmmlp_reads_a_hidden_layer_as_defined_with_gradients(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    shapes = {"x": (5, 4, 3), "weight": (6, 3), "down": (5, 6)}
    x, weight, down = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes.values())
    keep, factor = torch.rand(5, 4, 6) >= rate, 1 / (1 - rate)
    monkeypatch.setattr(mmmlp, "draw", lambda *_: (keep, factor))
    monkeypatch.setattr(mmmlp, "HIDDEN_AT_ONCE", 2 * 6 * 4)
    found = mmmlp._ReadHidden.apply(x, weight, down, rate)
    hidden = functional.gelu(x @ weight.T) * keep * factor
    expected = (down[:, None] * hidden).sum(2)
    torch.testing.assert_close(found, expected)
    direction, inputs = torch.randn_like(found), [x, weight, down]
    for one, two in zip(
        torch.autograd.grad((found * direction).sum(), inputs),
        torch.autograd.grad((expected * direction).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("padding", ["right", "left"])
def test_mmmlp_reads_what_mixing_of_all_slots_gives(padding: str) -> None:
    data = small.sequences(users=20)
    model = seeded(data, name="mmmlp", padding=padding, length=12).eval()
    assert isinstance(model, MMMLP)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    batch = batches(model, data)[0]
    with torch.no_grad():
        expected = []
        for row in range(len(batch.targets)):
            tokens = batch.items[batch.rows() == row]
            begin = 0 if padding == "right" else 12 - len(tokens)
            last = begin + len(tokens) - 1
            branches = []
            for name, embedded in zip(("id", "text", "image"), model._embed(tokens), strict=True):
                slots = torch.zeros(12, 16)
                slots[begin : begin + len(tokens)] = embedded
                mixer: Any = model.mixers[name]
                branches.append(mixer(model.norms[name](slots)[None])[0, last])
            expected.append(model.norms["id"](model.output(model.output_norm(torch.cat(branches)))))
        torch.testing.assert_close(model._states(batch)[0], torch.stack(expected), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("options", [{"rounds": 2}, {"fusion": "mixer"}, {"rounds": 2, "padding": "left"}])
def test_mmmlp_with_more_mixing_gives_other_scores(options: dict[str, Any]) -> None:
    data = small.sequences(users=10)
    plain, other = seeded(data, name="mmmlp"), seeded(data, name="mmmlp", **options)
    other.load_state_dict(plain.state_dict(), strict=False)
    assert not torch.allclose(all_scores(plain, data), all_scores(other, data))


# DIMO


def test_dimo_starts_from_the_principal_components_of_the_features() -> None:
    data = small.sequences(users=20)
    model = seeded(data, name="dimo", feature_deviation=0.5)
    assert isinstance(model, DIMO)
    content = torch.cat([model.item_data["features.text"], model.item_data["features.image"]], 1)
    torch.testing.assert_close(model.modal.data, 0.5 * principal_components(content, 16))
    left = np.linalg.svd((content - content.mean(0)).numpy(), full_matrices=False)
    scores = left[0] * left[1]
    expected = scores[:, :16] / np.sqrt((scores[:, :16] ** 2).mean(1, keepdims=True))
    found = principal_components(content, 16).numpy()
    np.testing.assert_allclose(found, expected * np.sign((expected * found).sum(0)), atol=1e-3)


def test_dimo_graph_counts_training_pairs_and_its_rows_sum_to_one() -> None:
    data = small.sequences(users=30)
    model = seeded(data, name="dimo")
    counts = torch.zeros(40, 40)
    training = data.training()
    for begin, end in zip(training.offsets, training.offsets[1:], strict=False):
        items = training.items[begin:end]
        for p, i in enumerate(items):
            for q, j in enumerate(items):
                counts[i, j] += p != q and i != j
    expected = counts / counts.sum(1, keepdim=True).clamp_min(1e-8)
    assert isinstance(model, DIMO)
    torch.testing.assert_close(model.graph(torch.eye(40)), expected)


def test_dimo_neighbours_are_the_most_frequent_ones_and_the_others_never_occur() -> None:
    data = small.sequences(users=15, seed=2)
    model = seeded(data, name="dimo", neighbours=3)
    assert isinstance(model, DIMO)
    found: Neighbours = model.neighbours
    graph = model.graph(torch.eye(40))
    for item in range(40):
        most = [j for j in found.most[item].tolist() if j >= 0]
        assert len(most) == min(3, int((graph[item] > 0).sum()))
        smallest = min((float(graph[item, j]) for j in most), default=0.0)
        others = [j for j in range(40) if j not in most]
        assert smallest >= float(graph[item, others].max())
        assert (graph[item, found.never[item]] == 0).all()
        assert item not in found.never[item]
    batch = batches(model, data)[0]
    for row, sign in enumerate(found.explain(batch).tolist()):
        near = found.most[batch.items[batch.rows() == row]]
        assert (sign > 0) == bool((near == batch.targets[row]).any())
