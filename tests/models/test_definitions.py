"""Whole models against their definitions, computed once more in plain NumPy: one sequence at a time, without padding.

All parameters are drawn at random, so that none of them can be left out, or used twice, unseen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import erf, log_softmax, softmax
from torch import Tensor, nn

from decorec.config.runs import Run, resolve
from decorec.data.batches import Batch, histories
from decorec.models.base import Recommender
from decorec.models.bert4rec import BERT4Rec
from decorec.models.decorec import DeCoRec
from decorec.models.dimo import DIMO
from decorec.models.esasrec import ESASRec, LigrEncoder
from decorec.models.hm4sr import HM4SR
from decorec.models.missrec import MISSRec
from decorec.models.mmmlp import MMMLP, Mixer
from decorec.models.sasrec import SASRec
from decorec.models.unisrec import UniSRec
from decorec.nn.attention import ReadingAttention, SelfAttention
from decorec.nn.transformer import Block, SequenceEncoder
from tests.support import small

Array = npt.NDArray[np.float64]
DATA = small.sequences(users=7, shortest=4, longest=11)


def trained(name: str, **options: Any) -> tuple[Any, Batch]:
    """A model with random parameters, in evaluation mode, and one of its training batches."""
    return drawn(small.run(name=name, **options), "fit")


def drawn(run: Run, stage: str) -> tuple[Any, Batch]:
    model = small.model(DATA, run, stage)
    model.observe(DATA.training())
    torch.manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    model.before_epoch()
    generator = torch.Generator().manual_seed(2)
    batch = next(iter(model.samples(DATA, run.train.stage(stage)).epoch(1_000, generator)))
    return model.eval(), batch


def rows(batch: Batch) -> Iterator[tuple[npt.NDArray[np.int64], list[int], list[int]]]:
    """Of each sequence the items, the places of its predictions, and their targets."""
    owner, target = batch.rows().numpy(), dict(zip(batch.predict.tolist(), batch.targets.tolist(), strict=True))
    for row in range(owner.max() + 1):
        tokens = np.flatnonzero(owner == row)
        asked = [token for token in tokens.tolist() if token in target]
        yield batch.items.numpy()[tokens], [token - tokens[0] for token in asked], [target[token] for token in asked]


def array(tensor: Tensor) -> Array:
    return tensor.detach().numpy().astype(np.float64)


def linear(x: Array, layer: nn.Linear) -> Array:
    found = x @ array(layer.weight).T
    return found if layer.bias is None else found + array(layer.bias)


def norm(x: Array, layer: nn.LayerNorm) -> Array:
    unit = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return unit * array(layer.weight) + array(layer.bias)


def gelu(x: Array) -> Array:
    return x * (1 + erf(x / np.sqrt(2))) / 2


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def unit(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def attention(q: Array, k: Array, v: Array, heads: int, causal: bool = False) -> Array:
    """[queries, D]; with ``causal``, query i sees the keys 0 to i."""
    found = []
    for own, key, value in zip(*(np.split(x, heads, axis=1) for x in (q, k, v)), strict=True):
        logits = own @ key.T / np.sqrt(own.shape[1])
        if causal:
            logits[np.triu_indices(len(q), 1)] = -np.inf
        found.append(softmax(logits, 1) @ value)
    return np.concatenate(found, 1)


def attended(x: Array, layer: SelfAttention) -> Array:
    return linear(attention(*np.split(linear(x, layer.qkv), 3, axis=1), layer.heads, layer.causal), layer.out)


def read(query: Array, x: Array, layer: ReadingAttention) -> Array:
    """What one query [D] reads from x [n, D]."""
    key, value = np.split(linear(x, layer.key_value), 2, axis=1)
    found = attention(linear(query[None], layer.query), key, value, layer.heads)[0]
    return found if layer.out is None else linear(found, layer.out)


def block(x: Array, layer: Block) -> Array:
    y = norm(x + attended(x, layer.attention), layer.attention_norm)
    return norm(y + linear(gelu(linear(y, layer.up)), layer.down), layer.output_norm)


def encoded(x: Array, encoder: SequenceEncoder) -> Array:
    x = x if encoder.positions is None else x + array(encoder.positions.weight)[: len(x)]
    x = norm(x, encoder.norm)
    for layer in encoder.blocks:
        assert isinstance(layer, Block)
        x = block(x, layer)
    return x


def check(model: Recommender, batch: Batch, logits: list[Array], targets: list[int], more: float = 0.0) -> None:
    """The loss is the mean cross-entropy of ``logits`` (a row [I] for each prediction), and ``more``."""
    expected = -np.mean([log_softmax(row)[target] for row, target in zip(logits, targets, strict=True)]) + more
    with torch.no_grad():
        assert float(model.loss(batch)) == pytest.approx(float(expected), rel=1e-4)


def scored(model: Recommender, batch: Batch) -> Array:
    with torch.no_grad():
        return array(model.scores(batch, model.item_representations()))


def test_decorec_as_released() -> None:
    """Stage 2 of the preset: S of 1 / (D + 1) over both degrees, ids as the mean of three hops, interests without MLP,
    the adapters' output for zeros as one more wrong answer, and the sum of all four exponentials as the score."""
    run = resolve({}, "released", {"model": small.TINY})
    model, batch = drawn(run, "stage2")
    assert isinstance(model, DeCoRec) and model.ids is not None and model.interests is not None
    counted, training = np.zeros((40, 40)), DATA.training()
    for begin, end in zip(training.offsets[:-1], training.offsets[1:], strict=True):
        for p, q in permutations(range(begin, end), 2):
            if training.items[p] != training.items[q]:
                counted[training.items[p], training.items[q]] += 1 / (abs(p - q) + 1)
    degree = np.where(counted.any(1), counted.sum(1), 1)
    graph = counted / degree[:, None] / degree
    ids = array(model.ids.weight)
    ids = (ids + graph @ ids + graph @ graph @ ids) / 3
    whole, padded = [], []
    for name, adapter in model.adapters.items():
        features, project = array(model.item_data[f"features.{name}"]), adapter.project  # type: ignore[union-attr]
        rows_of = [np.maximum(linear(x, project[0]), 0) for x in (features, np.zeros((1, 12)))]  # type: ignore[index,arg-type]
        adapted, zero = (linear(x, project[2]) for x in rows_of)  # type: ignore[index,arg-type]
        interest: Any = model.interests[name]
        whole.append(adapted + ids + array(interest.table.weight)[model.item_data[f"interests.{name}"].numpy()])
        padded += [whole[-1], zero]
    losses, scores = [], []
    for history, asked, (target,) in rows(batch):
        assert asked == [len(history) - 1], "one row per prefix"
        states = [encoded(items[history], model.encoder)[-1] for items in whole]
        for own in range(2):
            every = np.concatenate(padded) @ states[own] / 2
            right = np.array([items[target] @ states[own] / 2 for items in whole])
            losses.append(np.log(np.exp(every).sum()) - np.log(np.exp(right).sum()))
        scores.append(sum(np.exp(items @ state / 2) for items in whole for state in states))
    with torch.no_grad():
        assert float(model.loss(batch)) == pytest.approx(2 * np.mean(losses), rel=1e-4)  # the sum of both modalities
    found = scored(model, batch)
    expected = np.stack(scores)
    shares = expected / expected.sum(1, keepdims=True)
    np.testing.assert_allclose(found / found.sum(1, keepdims=True), shares, rtol=1e-3, atol=1e-7)


def test_sasrec() -> None:
    model, batch = trained("sasrec")
    assert isinstance(model, SASRec)
    items, logits, targets = array(model.items.weight), [], []
    for history, asked, wanted in rows(batch):
        logits += list(encoded(items[history], model.encoder)[asked] @ items.T)  # type: ignore[arg-type]
        targets += wanted
    assert len(logits) > len(DATA.users)  # after every item
    check(model, batch, logits, targets)
    np.testing.assert_allclose(scored(model, batch), logits, rtol=1e-3, atol=1e-3)


def test_bert4rec() -> None:
    model, batch = trained("bert4rec")
    assert isinstance(model, BERT4Rec)
    table, logits, targets = array(model.items.weight), [], []
    for history, asked, wanted in rows(batch):
        states = norm(gelu(linear(encoded(table[history], model.encoder), model.output)), model.norm)
        logits += list(states[asked] @ table[:-1].T + array(model.bias)[:, 0])
        targets += wanted
    check(model, batch, logits, targets)


def test_unisrec() -> None:
    model, batch = trained("unisrec", temperature=0.5)
    assert isinstance(model, UniSRec) and model.ids is not None
    items = array(model.adaptor(model.item_data["features.text"])) + array(model.ids.weight)
    logits, targets = [], []
    for history, asked, wanted in rows(batch):
        logits += list(unit(encoded(items[history], model.encoder))[asked] @ unit(items).T / 0.5)
        targets += wanted
    check(model, batch, logits, targets)


@pytest.mark.parametrize("positions", ["learned", "none"])
def test_missrec(positions: str) -> None:
    model, batch = trained("missrec", interest_ratio=0.2, temperature=0.5, interest_weight=0.01, positions=positions)
    assert isinstance(model, MISSRec) and model.ids is not None and (model.positions is None) == (positions == "none")
    data, decoder = model.item_data, model.decoder
    text, image = (linear(array(data[f"features.{name}"]), getattr(model, name)) for name in ("text", "image"))
    ids, centroids = array(model.ids.weight), array(model.centroids)
    assert len(centroids) == 16  # a fifth of 40 texts and 40 pictures
    logits, targets, energy = [], [], []
    for history, asked, wanted in rows(batch):
        assert asked == [len(history) - 1]
        known = sorted({int(cluster) for item in history for cluster in model.clusters[:, item]})
        memory = norm(block(centroids[known], model.encoder), model.encoder_norm)
        energy.append((memory.sum(0) ** 2).sum() / 16)
        x = text[history] + image[history] + ids[history]
        x = x if model.positions is None else x + array(model.positions.weight)[: len(history)]
        x = norm(x, model.input_norm)
        norms: list[Any] = list(decoder.norms)
        state = norm(x[-1] + read(x[-1], x, decoder.attention), norms[0])
        state = norm(state + read(state, memory, decoder.cross), norms[1])
        state = norm(state + linear(gelu(linear(state, decoder.up)), decoder.down), norms[2])
        state = unit(norm(state, norms[3]))
        both = np.stack([unit(text) @ state, unit(image) @ state])
        fused = (softmax(model.fusion.item() * both, 0) * both).sum(0)
        logits.append((unit(ids) @ state + 2 * fused) / 3 / 0.5)
        targets += wanted
    check(model, batch, logits, targets, more=0.01 * 512 * float(np.mean(energy)))
    np.testing.assert_allclose(scored(model, batch), logits, rtol=1e-3, atol=1e-3)


def mixed(x: Array, mixer: Mixer) -> Array:
    """One round over all slots, [L, D]."""
    across = gelu(linear(norm(x, mixer.slot_norm).T, mixer.slot_up))
    x = x + linear(across, mixer.slot_down).T
    return x + linear(gelu(linear(norm(x, mixer.channel_norm), mixer.channel_up)), mixer.channel_down)


@pytest.mark.parametrize("options", [{"padding": "left"}, {"rounds": 2, "fusion": "mixer"}], ids=str)
def test_mmmlp(options: dict[str, Any]) -> None:
    model, batch = trained("mmmlp", length=9, **options)
    assert isinstance(model, MMMLP)
    ids, logits, targets = array(model.items.weight), [], []
    for history, asked, wanted in rows(batch):
        place = 8 if options.get("padding") == "left" else len(history) - 1
        slots = slice(place + 1 - len(history), place + 1)
        branches = []
        for name in ("id", "text", "image"):
            x = np.zeros((9, 16))
            features = array(model.item_data[f"features.{name}"])[history] if name != "id" else None
            x[slots] = ids[history] if features is None else linear(features, model.adapters[name])  # type: ignore[arg-type]
            x = norm(x, model.norms[name])  # type: ignore[arg-type]
            for _ in range(options.get("rounds", 1)):
                x = mixed(x, model.mixers[name])  # type: ignore[arg-type]
            branches.append(x)
        whole = np.concatenate(branches, 1)
        whole = whole if model.fusion is None else mixed(whole, model.fusion)
        state = norm(linear(norm(whole, model.output_norm), model.output), model.norms["id"])[place]  # type: ignore[arg-type]
        logits.append(ids @ state)
        targets += wanted
        assert asked == [len(history) - 1]
    check(model, batch, logits, targets)


def test_dimo() -> None:
    model, batch = trained("dimo", layers=2, auxiliary=0.01)
    assert isinstance(model, DIMO)
    counts: Counter[tuple[int, int]] = Counter()
    training = DATA.training()
    for begin, end in zip(training.offsets[:-1], training.offsets[1:], strict=True):
        counts.update(pair for pair in permutations(training.items[begin:end].tolist(), 2) if pair[0] != pair[1])
    together = np.zeros((40, 40))
    for pair, count in counts.items():
        together[pair] = count
    graph = together / np.maximum(together.sum(1, keepdims=True), 1e-8)
    e, f = array(model.ids.weight), array(model.modal)
    for _ in range(2):
        e, f = e + graph @ e, f + graph @ f
    most = [[int(j) for j in np.lexsort((np.arange(40), -row))[:3] if row[j]] for row in together]

    def cosine(x: Array, y: Array) -> float:
        return float(x @ y / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-8))

    def prefer(near: float, far: float) -> float:
        return float(np.log10(np.exp(near) / (np.exp(near) + np.exp(far))))

    alike = 0.0
    for item in range(40):
        weights = together[item, most[item]]
        mean = weights @ e[most[item]] / max(weights.sum(), 1)
        near = np.exp(cosine(e[item], mean))
        far = sum(np.exp(cosine(e[item], e[j])) for j in model.neighbours.never[item].tolist())
        alike -= np.log10(near / (near + far))
    logits, targets, apart = [], [], []
    w: list[Any] = list(model.proxies)
    for history, _, (target,) in rows(batch):
        z_id = read(e[history[-1]], e[history], model.read_ids)
        z_mo = read(f[history[-1]], f[history], model.read_modal)
        p_id, p_mo = e[history].mean(0), f[history].mean(0)
        logits.append(e @ z_id + f @ z_mo)
        targets.append(target)
        sign = 1 if any(target in most[item] for item in history) else -1
        apart.append(
            prefer(cosine(linear(z_id, w[0]), linear(p_id, w[1])), cosine(linear(z_id, w[2]), linear(z_mo, w[3])))
            + prefer(cosine(linear(z_mo, w[4]), linear(p_mo, w[5])), cosine(linear(z_mo, w[6]), linear(z_id, w[7])))
            + sign * prefer(cosine(z_id, e[target]), cosine(z_mo, f[target]))
        )
    check(model, batch, logits, targets, more=0.01 * (alike - 50 * float(np.mean(apart))))


def contrast(one: Array, other: Array, targets: list[int]) -> float:
    """Cross-entropy of each row of ``one`` with its own of ``other``; others with the same target have the logit 0."""
    logits = one @ other.T
    for row, column in permutations(range(len(targets)), 2):
        if targets[row] == targets[column]:
            logits[row, column] = 0
    return float(-np.mean(np.diagonal(log_softmax(logits, 1))))


def test_hm4sr() -> None:
    model, _ = trained("hm4sr", auxiliary=0.5, replaced=0.0)
    assert isinstance(model, HM4SR) and model.encoder.positions is not None
    model.train()  # without dropout here; the contrasts are a part of training alone
    last = DATA.items[DATA.places("valid")]
    last[:3] = last[0]  # three sequences with one target
    items = DATA.items.copy()
    items[DATA.places("valid")] = last
    batch = histories(replace(DATA, items=items), "valid", 50).batch(np.arange(len(DATA.users)))
    mixtures, clock = model.encoder.mixtures, array(model.clock(batch))
    tables = [array(model.items.weight)]
    for name, adapter in model.adapters.items():
        tables.append(linear(array(model.item_data[f"features.{name}"]), adapter))  # type: ignore[arg-type]
    states, targets, begin = [], [], 0
    for history, asked, wanted in rows(batch):
        streams = [table[history] + array(model.encoder.positions.weight)[: len(history)] for table in tables]
        experts = linear(np.concatenate(streams, 1), mixtures.experts).reshape(len(history), 4, 3, 16)
        told = softmax(linear(clock[begin : begin + len(history)], mixtures.time_gate), 1)
        own = []
        for number, (x, gate) in enumerate(zip(streams, mixtures.gates, strict=True)):
            g = softmax(linear(x, gate), 1)  # type: ignore[arg-type]
            x = x + mixtures.weights[number].item() * (g[:, :, None] * experts[:, :, number]).sum(1)
            x = x * (told @ array(mixtures.time_experts)[:, number])
            own.append(encoded(x, model.encoder.encoders[number])[asked[0]])  # type: ignore[arg-type]
        states.append(np.stack(own))
        targets += wanted
        begin += len(history)
    assert len(set(targets)) < len(targets)
    s = np.stack(states, 1)  # [3, users, D]
    logits = sum(state @ table.T for state, table in zip(s, tables, strict=True))
    ids = contrast(unit(s[0]) / 0.2, unit(tables[0][targets]), targets)
    views = np.mean([contrast(x, x, targets) for x in s[1:]])  # nothing is replaced: both views are the same
    check(model, batch, list(logits), targets, more=0.5 * (ids + float(views)))


def test_esasrec() -> None:
    model, batch = trained("esasrec")
    assert isinstance(model, ESASRec) and isinstance(model.encoder, LigrEncoder)
    encoder, items = model.encoder, array(model.items.weight)
    assert encoder.positions is not None
    logits, targets = [], []
    for history, asked, wanted in rows(batch):
        x = items[history] + array(encoder.positions.weight)[: len(history)]
        for layer in encoder.layers:
            own: Any = layer
            heard = attended(norm(x, own.attention_norm), own.attention)
            x = x + sigmoid(linear(x, own.attention_gate)) * heard
            u = norm(x, own.hidden_norm)
            gated = linear(u, own.hidden.gated)
            u = linear(gated * sigmoid(gated) * linear(u, own.hidden.up), own.hidden.down)
            x = x + sigmoid(linear(x, own.hidden_gate)) * u
        logits += list(x[asked] @ items.T)
        targets += wanted
    check(model, batch, logits, targets)
