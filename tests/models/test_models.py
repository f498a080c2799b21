"""All models: one pass against windows, causality, scores, and what a step reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from decorec.data.batches import Windows, histories, training_windows
from decorec.data.sequences import Sequences
from decorec.models import registry
from decorec.models.base import Recommender
from tests.support import small

OTHERS = "decorec", "bert4rec", "missrec", "mmmlp", "dimo"
"""DeCoRec has stages; the others read both sides of an item, and are trained on one row per prefix or on masks."""
ONE_PASS = [name for name in registry.MODELS if name not in (*small.FLOORS, *OTHERS)]
"""Models whose every state is trained on in one pass."""
MODELS: list[tuple[str, str, dict[str, Any]]] = [
    *((name, "fit", {"name": name}) for name in ONE_PASS),
    ("gru4rec of two layers", "fit", {"name": "gru4rec", "layers": 2}),
    ("sasrec-features history", "fit", {"name": "sasrec-features", "fusion": "concat", "sides": "history"}),
    ("decorec stage 1", "stage1", {}),
    ("decorec stage 2", "stage2", {}),
    ("decorec with positions", "stage2", {"encoder": {**small.TINY["encoder"], "positions": "learned", "layers": 2}}),
    ("decorec cosine", "stage2", {"similarity": "cosine", "temperature": 0.07, "alpha": 0.4}),
    ("decorec with enriched raw features", "stage2", {"enrich": "raw", "modal_layers": 2}),
    ("decorec with interests from centroids", "stage2", {"interest_input": "centroid"}),
    ("decorec with narrow adapters", "stage1", {"adapter_hidden": 5}),
    ("decorec scored by logits", "stage2", {"scoring": "logits"}),
    ("decorec within each modality", "stage2", {"cross": False}),
    ("decorec with three modalities", "stage2", {"modalities": ["text", "image", "audio"], "alpha": 0.4}),
    ("decorec of ids alone", "fit", {"modalities": []}),
    ("decorec of the released code", "stage2", {"id_enrichment": "mean", "interest_mlp": False, "modal_layers": 0}),
]


def chosen_model(data: Sequences, stage: str, options: dict[str, Any], length: int) -> Recommender:
    tiny = small.TINY_OF.get(options.get("name", ""), small.TINY)
    encoder = tiny.get("encoder", {}) | options.get("encoder", {})
    sized = {"encoder": encoder | {"length": length}} if encoder else {"length": length}
    run = small.run(**(options | sized))
    return small.model(data, run, stage).eval()  # the gate of UniSRec draws noise in training


def explicit_windows(data: Sequences, length: int) -> Windows:
    """One sample per prefix, as the sliding-window augmentation of the literature materialises it."""
    training = data.training()
    start, size = [], []
    for user, count in enumerate(training.lengths):
        for t in range(1, count):
            first = max(0, t - length)
            start.append(training.offsets[user] + first)
            size.append(t - first)
    sizes = np.array(size)
    ends = np.array(start) + sizes + 1
    return Windows(training.items, np.array(start), sizes, sizes - 1, ends, times=training.timestamps)


@pytest.mark.parametrize("length", [50, 4])
@pytest.mark.parametrize(("stage", "options"), [m[1:] for m in MODELS], ids=[m[0] for m in MODELS])
def test_one_pass_equals_explicit_sliding_windows(stage: str, options: dict[str, Any], length: int) -> None:
    data = small.sequences(users=25)
    model = chosen_model(data, stage, options, length).double()
    results = []
    for windows in (training_windows(data, length), explicit_windows(data, length)):
        model.zero_grad()
        loss = model.loss(windows.batch(np.arange(len(windows))))
        loss.backward()
        results.append((loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    (one, ours), (other, theirs) = results
    assert one == pytest.approx(other, rel=1e-9)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 5
    for name, gradient in ours.items():
        error = (gradient - theirs[name]).norm() / theirs[name].norm().clamp_min(1e-30)
        assert error < 1e-9 or theirs[name].norm() < 1e-12, name


@pytest.mark.parametrize(("stage", "options"), [m[1:] for m in MODELS], ids=[m[0] for m in MODELS])
def test_a_later_item_does_not_change_an_earlier_state(stage: str, options: dict[str, Any]) -> None:
    data = small.sequences(users=1, shortest=9, longest=9)
    model = chosen_model(data, stage, options, 50).eval()
    changed = replace(data, items=np.where(np.arange(9) == 5, (data.items + 7) % 40, data.items))
    with torch.no_grad():
        scores = [
            model.scores(training_windows(d, 50).batch(np.arange(1)), model.item_representations())
            for d in (data, changed)
        ]
    torch.testing.assert_close(scores[0][:5], scores[1][:5])
    assert not torch.allclose(scores[0][5], scores[1][5])


@pytest.mark.parametrize(("stage", "options"), [m[1:] for m in MODELS], ids=[m[0] for m in MODELS])
def test_scores_do_not_depend_on_the_batch(stage: str, options: dict[str, Any]) -> None:
    data = small.sequences(users=20)
    model = chosen_model(data, stage, options, 50).eval()
    windows = histories(data, "test", 50)
    with torch.no_grad():
        representations = model.item_representations()
        together = torch.empty(20, 40)
        for chosen, batch in windows.in_order(10_000):
            together[torch.from_numpy(chosen)] = model.scores(batch, representations)
        alone = torch.cat([model.scores(windows.batch(np.array([user])), representations) for user in range(20)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in registry.MODELS if name not in small.FLOORS])
def test_a_section_says_whether_a_step_reads_the_items_before_each_prediction_anew(name: str) -> None:
    """In one pass over a sequence nearly every item that is read has a prediction."""
    data = small.sequences(users=20, shortest=40, longest=40)
    for samples in ("sequences", "prefixes"):
        run = small.run(name=name)
        model = small.model(data, run, run.stages[-1])
        train = run.train.stage(run.stages[-1]).model_copy(update={"samples": samples})
        batches = list(model.samples(data, train).epoch(100, torch.Generator().manual_seed(0)))
        read, predicted = (sum(map(len, each)) for each in zip(*((b.items, b.predict) for b in batches), strict=True))
        expected = run.model.reads_prefixes or samples == "prefixes"
        assert (read > 2 * predicted) == expected, (read, predicted)
