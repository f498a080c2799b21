"""Exported vectors and ONNX files against the model, with FAISS and onnxruntime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file

from decorec import load
from decorec.data.sequences import write_vocab
from decorec.errors import DecorecError
from decorec.export.forward import plain
from decorec.export.parity import check, check_histories, padded
from decorec.export.step import export
from decorec.recommend.trained import TrainedRun
from tests.support import small
from tests.support.service import ITEMS, train

PLUS = {
    "floor": {"name": "content-ease", "ridge": 10, "weight": 0.5},
    "weight": 0.3,
    "neighbourhood": 0.3,
    "repeats": "counted",
}
NEAREST = {"floor": {"name": "ease", "ridge": 5, "neighbours": 7, "decay": 0.5}}
EXPORTED: dict[str, tuple[Mapping[str, Any] | None, dict[str, Any]]] = {
    "decorec": (None, {}),
    "cosine, positions, two layers": (
        None,
        {"similarity": "cosine", "encoder": {**small.TINY["encoder"], "layers": 2, "positions": "learned"}},
    ),
    "not across modalities": (None, {"cross": False}),
    "exponentials": (None, {"scoring": "exponentials"}),
    "logits": (None, {"scoring": "logits"}),
    "decorec-plus": (PLUS, {}),
    "a restricted floor": (NEAREST, {}),
    "sasrec": (None, {"name": "sasrec"}),
    "sasrec-features": (None, {"name": "sasrec-features"}),
    "sasrec-plus": (PLUS, {"name": "sasrec"}),
}


def trained(folder: Path, name: str) -> TrainedRun:
    experts, model = EXPORTED[name]
    train(folder, 0, "fit" if model.get("name", "decorec") != "decorec" else "stage2", experts, **model)
    return load(folder)


@pytest.mark.parametrize("name", EXPORTED)
def test_the_padded_form_scores_as_the_model_does(name: str, tmp_path: Path) -> None:
    run = trained(tmp_path, name)
    model, histories = plain(run), check_histories(run, None)
    found = check(run, histories, model, exact=True)
    assert (found.histories, found.same_lists) == (1_000, pytest.approx(1, abs=1e-3))
    assert found.largest_difference < 1e-5 * max(1, found.largest_score)
    vectors = model.vectors()
    assert vectors.exact is (name in ("logits", "sasrec", "sasrec-features"))
    if vectors.exact:
        check(run, histories, lambda *asked: model.queries(*asked) @ vectors.items.T, exact=True)


def test_what_differs_is_not_written(tmp_path: Path) -> None:
    run = trained(tmp_path, "decorec")
    model, histories = plain(run), check_histories(run, None)
    with pytest.raises(DecorecError, match=r"found a difference of 0\.001.*nothing was written"):
        check(run, histories, lambda *asked: model(*asked) + 1e-3 * torch.eye(40)[0], exact=True)
    with pytest.raises(DecorecError, match="expected numbers"):
        check(run, histories, lambda *asked: model(*asked) * torch.nan, exact=True)


def test_every_format_holds_the_same_and_faiss_finds_the_models_lists(tmp_path: Path) -> None:
    """For the customers of the data set: the index gives the lists of SASRec, and candidates of DeCoRec."""
    results = tmp_path / "results" / "shop"
    data = small.sequences(users=100)
    data.write(results / "sequences.parquet")
    write_vocab(results / "vocab.parquet", ITEMS)
    for name, stage in (("sasrec", "fit"), ("decorec", "stage2")):
        folder = results / "runs" / name / "seed-0"
        train(folder, 0, stage, name=name)
        for kind in ("parquet", "npy", "safetensors"):
            export(run=folder, format=kind, output=tmp_path / name / kind)
        export(run=folder, format="parquet")  # into results/shop/export/NAME
        for file, facts in json.loads((results / "export" / name / "manifest.json").read_text())["files"].items():
            content = (results / "export" / name / file).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (facts["bytes"], facts["sha256"])
        table = pl.read_parquet(tmp_path / name / "parquet" / "items.parquet")
        asked = pl.read_parquet(tmp_path / name / "parquet" / "queries.parquet")
        items, queries = table["vector"].to_numpy(), asked["vector"].to_numpy()
        assert (table["item"].to_list(), asked["user"].to_list()) == (ITEMS, data.users)
        tensors = load_file(tmp_path / name / "safetensors" / "vectors.safetensors")
        for other in (tensors, {part: np.load(tmp_path / name / "npy" / f"{part}.npy") for part in tensors}):
            assert np.array_equal(other["items"], items) and np.array_equal(other["queries"], queries)
        index = faiss.IndexFlatIP(items.shape[1])
        index.add(np.ascontiguousarray(items))
        manifest = json.loads((tmp_path / name / "npy" / "manifest.json").read_text())
        assert manifest["exact"] is (name == "sasrec")
        run, nearest = load(folder), index.search(np.ascontiguousarray(queries), 40)[1]
        histories = [[ITEMS[item] for item in data.items[a:b]] for a, b in pairwise(data.offsets)]
        lists = [[each.item for each in found] for found in run.recommend_many(histories)]
        if name == "sasrec":
            for history, own, found in zip(histories, lists, nearest, strict=True):
                assert [ITEMS[item] for item in found if ITEMS[item] not in history][:12] == own
        else:
            again = [
                [each.item for each in run.recommend(history, only=[ITEMS[item] for item in found])]
                for history, found in zip(histories, nearest, strict=True)
            ]
            assert again == lists, "all candidates, ranked by the model"
            assert manifest["recall"]["candidates"] == 1
            assert manifest["recall"]["same_lists"] < 1, "the index alone does not give the lists"


def test_onnx_in_onnxruntime(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "decorec-plus")
    export(run=tmp_path / "run", format="onnx", output=tmp_path / "onnx")
    manifest = json.loads((tmp_path / "onnx" / "manifest.json").read_text())
    assert manifest["checked"]["largest_difference"] < 1e-5
    assert manifest["files"].keys() == {"items.parquet", "model.onnx", "query.onnx"}
    histories = check_histories(run, None)
    items, lengths = padded(histories, np.arange(7), manifest["length"])
    asked = {"items": items.numpy(), "lengths": lengths.numpy()}
    for file, expected in (("model", plain(run)(items, lengths)), ("query", plain(run).queries(items, lengths))):
        session = onnxruntime.InferenceSession(tmp_path / "onnx" / f"{file}.onnx")
        (found,) = session.run(None, asked)
        assert np.abs(found - expected.numpy()).max() < 1e-5
        alone = {"items": items.numpy()[:1, : lengths[0]], "lengths": lengths.numpy()[:1]}
        assert np.abs(session.run(None, alone)[0] - found[:1]).max() < 1e-5, "padding changes nothing"


@pytest.mark.parametrize(
    ("experts", "model", "message"),
    [
        (None, {"name": "gru4rec"}, "gru4rec: expected a model that can be exported"),
        (None, {"name": "popularity"}, "popularity: expected a model that can be exported"),
        ({"floor": {"name": "vstan"}}, {"name": "sasrec"}, "experts: expected the floor ease or content-ease"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    experts: Mapping[str, Any] | None, model: dict[str, Any], message: str, tmp_path: Path
) -> None:
    train(tmp_path / "run", 0, "fit", experts, **model)
    with pytest.raises(DecorecError, match=message):
        export(run=tmp_path / "run", format="parquet", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_format_and_no_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DecorecError, match="expected one of parquet, npy, safetensors, onnx, found 'csv'"):
        export(run=tmp_path, format="csv")
    train(tmp_path / "run")
    with pytest.raises(DecorecError, match="expected a run in results/, or --output"):
        export(run=tmp_path / "run", format="npy")
    (tmp_path / "baskets.csv").write_text("user,item,timestamp\nann,of another shop,1\nbob,never sold,2\n")
    with pytest.raises(DecorecError, match=r"baskets.csv: expected customers who .* 'item 0', found none among 2"):
        export(run=tmp_path / "run", format="npy", histories=tmp_path / "baskets.csv", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
