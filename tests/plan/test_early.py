"""Values that would fail after hours are refused when the configuration is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from decorec.artifacts import layout
from decorec.config import load
from decorec.config.baselines import SasrecConfig
from decorec.errors import DecorecError
from decorec.plan.plan import Plan

NAMES = ["decorec", "sasrec", "bert4rec", "unisrec", "missrec", "dimo"]
TWO: dict[str, Any] = {"decorec": {}, "sasrec": {"model": {"name": "sasrec"}}}


def refused(message: str, **sections: Any) -> None:
    with pytest.raises(DecorecError, match=message):
        load({"datasets": {"shop": {"source": "sample"}}, **sections})


@pytest.mark.parametrize("name", NAMES)
def test_a_width_that_the_heads_cannot_share(name: str) -> None:
    runs = {"decorec": {}, "odd": {"model": {"name": name, "dim": 30 + 1}}}
    key = "heads" if name in ("missrec", "dimo") else "encoder.heads"
    message = rf"model\.dim is 31, expected a multiple of model\.{key}, found [24] heads; write (28 or 32|30 or 32)"
    refused(rf"runs\.odd: .*\n.*{message}", runs=runs, tables={"main": ["decorec"]})
    even = {"decorec": {}, "odd": {"model": {"name": name, "dim": 32}}}
    assert load({"datasets": {"shop": {"source": "sample"}}, "runs": even, "tables": {"main": ["decorec"]}})


def test_a_width_of_the_base_section_of_tuned_values_and_of_heads_alone() -> None:
    refused(r"model\.dim is 10", model={"dim": 10})
    refused(
        r"tuned\.shop\.sasrec: .*\n.*model\.dim is 33", runs=TWO, tuned={"shop": {"sasrec": {"model": {"dim": 33}}}}
    )
    refused(
        r"model\.dim is 300, .*found 7 heads",
        runs=TWO | {"sasrec": {"model": {"name": "sasrec", "encoder": {"heads": 7}}}},
    )


def test_a_value_that_tuning_would_try(monkeypatch: pytest.MonkeyPatch) -> None:
    space: ClassVar[dict[str, list[Any]]] = {"model.dim": [32, 33], "model.encoder.heads": [2, 4]}
    monkeypatch.setattr(SasrecConfig, "space", space)
    refused(r"runs\.sasrec, where tuning tries \{'model.dim': 33, 'model.encoder.heads': 2\}: ", runs=TWO)


@pytest.mark.parametrize("name", layout.TAKEN)
def test_a_data_set_cannot_have_the_folder_of_other_files(name: str) -> None:
    with pytest.raises(DecorecError, match=rf"datasets: expected other names than .*, found '{name}'"):
        load({"datasets": {name: {"source": "sample"}}})


def test_a_run_cannot_have_the_name_of_the_folder_of_all_results() -> None:
    """The path of its files would have it twice, and their place would begin at the second."""
    refused(r"runs: expected other names than results, .*, found 'results'", runs={"results": {}})
    assert load({"datasets": {"shop": {"source": "sample"}}, "runs": TWO | {"cache": {}}})


def test_entries_that_stand_twice() -> None:
    refused(r"seeds: expected each entry once, found 3 more than once", seeds=[3, 1, 3])
    for table in (
        "main",
        "ablations",
        "retrieval",
        "fusion",
        "readings",
        "gradients",
        "embedding",
        "advantages",
        "gates",
        "newitems",
        "variants",
    ):
        refused(rf"tables\.{table}: expected each entry once, found 'decorec'", tables={table: ["decorec", "decorec"]})
    refused(r"report\.runs: expected each entry once", report={"runs": ["sasrec", "sasrec"]})
    refused(r"filter\.require: expected each entry once", filter={"require": ["text", "text"]})
    refused(r"modalities: expected each entry once", runs=TWO | {"twice": {"model": {"modalities": ["text", "text"]}}})


@pytest.mark.parametrize("name", [{"a": 1}, ["decorec"], 3, None])
def test_a_name_of_a_model_that_is_no_text(name: Any) -> None:
    refused(r"model\.name: expected one of 'decorec', ", model={"name": name})
    refused(r"runs\.odd: .*\n  model\.name: expected one of ", runs=TWO | {"odd": {"model": {"name": name}}})
    refused(r"tuned\.shop\.\w+: .*\n  model\.name: ", runs=TWO, tuned={"shop": {"sasrec": {"model": {"name": name}}}})


def test_a_wrong_key_is_told_with_the_one_that_was_meant() -> None:
    refused(r"\n  sead: unknown key; did you mean 'seeds'\?$", sead=[0])
    refused(r"train\.learning_rte: unknown key; did you mean 'learning_rate'\?$", train={"learning_rte": 1})
    refused(r"encoder\.layer: unknown key; did you mean 'layers'\?$", model={"encoder": {"layer": 3}})
    refused(r"runs\.odd\.modle: unknown key; did you mean 'model'\?$", runs=TWO | {"odd": {"modle": {}}})
    refused(r"\n  model\.sasrec\.dims: .* 'dim'\?$", runs=TWO | {"odd": {"model": {"name": "sasrec", "dims": 8}}})
    shop = {"source": "table", "path": "shop", "colums": {"user": "customer"}}
    with pytest.raises(DecorecError, match=r"datasets\.shop\.table\.colums: .* did you mean 'columns'\?$"):
        load({"datasets": {"shop": shop}})
    refused(r"\n  alphabet: unknown key; remove it or correct its name$", alphabet=1)
    with pytest.raises(DecorecError, match=r"datasets\.shop\.source: expected one of 'sample', .*, found 'tabel'$"):
        load({"datasets": {"shop": shop | {"source": "tabel"}}})
    with pytest.raises(DecorecError, match=r"datasets\.shop\.source: required key is missing; add it$"):
        load({"datasets": {"shop": {"path": "shop"}}})


def test_a_shop_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item,title,image\n1,One, \n2,Two,\n")
    text = {"decorec": {"model": {"modalities": ["text"]}}, "both": {}}
    base: dict[str, Any] = {
        "datasets": {"shop": {"source": "table", "path": str(tmp_path)}},
        "runs": text | {"popularity": {"model": {"name": "popularity"}}, "sasrec": {"model": {"name": "sasrec"}}},
        "tables": {"main": ["decorec", "sasrec"]},
        "filter": {"require": ["text"]},
        "features": {"encoder": "clip"},
    }
    plan = Plan(load(base))
    assert plan.modalities("shop") == ("text",) and plan.recalls() == []
    assert "recall" not in plan.tables() and "main" in plan.tables()
    assert [Path(file).stem for file in plan.interests_shown("shop")] == ["text"]
    assert len(plan.shown_models("shop")) == 2

    fitted = {"features": {"encoder": "fit", "text": "encoder"}}
    ids = fitted | {"filter": {"require": []}}
    plan = Plan(load(base | ids | {"tables": {"main": ["popularity", "sasrec"], "reference": "popularity"}}))
    assert plan.modalities("shop") == () and plan.required_features("shop") == plan.interests_shown("shop") == []
    assert [layout.place(Path(file), layout.MODEL).run for file in plan.shown_models("shop")] == ["sasrec"]

    texts = Plan(load(base | {"features": {"encoder": "fit"}}))
    assert texts.modalities("shop") == ("text",)

    given = Plan(load(base | {"features": {"encoder": "clip", "image": "mine.parquet"}}))
    assert given.modalities("shop") == ("text", "image") and given.weights() == ["mine.parquet"]

    lsa = "; for texts alone, set features.text to lsa: an encoder is fitted to pictures too"
    for changes, words in [
        ({"tables": {"main": ["decorec", "both"], "tau": [4]}}, "add them, or take both out of tables.main"),
        ({"filter": {"require": ["text", "image"]}}, "add them, or write filter.require: [text]"),
        (ids, f"add them, or take decorec out of tables.main{lsa}"),
        (fitted, f"or write filter.require: []; take decorec out of tables.main{lsa}"),
    ]:
        with pytest.raises(DecorecError) as caught:
            Plan(load(base | changes))
        origin = f"datasets.shop: expected pictures, found none (column image of {tmp_path}/items.csv); "
        assert str(caught.value).startswith(origin) and str(caught.value).endswith(words)

    (tmp_path / "items.csv").write_text("item,title,image\n1,One,a.jpg\n2,Two,\n")
    plan = Plan(load(base))
    assert plan.modalities("shop") == ("text", "image") and len(plan.recalls()) == 1
