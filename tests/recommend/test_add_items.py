"""The step add-items: from a table of new products to lists that have them, with an encoder that was fitted before."""

from __future__ import annotations

import shutil
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import decorec
from decorec.artifacts.files import read_arrays, write_arrays, write_table
from decorec.artifacts.seal import provenance
from decorec.config.features import FeaturesConfig
from decorec.config.recommend import RecommendConfig
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import write_vocab
from decorec.errors import DecorecError
from decorec.export.step import export
from decorec.features.step import features
from decorec.models.added_items import WithAddedItems
from decorec.recommend.add_items import add_items
from decorec.recommend.step import recommend
from tests.recommend.test_trained import ITEMS, names, saved
from tests.support import small
from tests.support.service import serving
from tests.support.small_shop import drawing, step_files, write_shop, write_tables


def shop(folder: Path) -> tuple[Path, Path]:
    """results/shop with features of 40 drawings, the encoder that made them, sequences, and a run; and new products."""
    made = folder / "made"
    made.mkdir(parents=True)
    write_shop(made, 40)
    named = pl.Series("item", ITEMS)
    for table in ("items", "images"):
        frame = pl.read_parquet(made / f"{table}.parquet")
        frame.with_columns(item=named).write_parquet(made / f"{table}.parquet")
    files = step_files(made)
    settings = {"encoder": "fit", "epochs": 1, "batch_size": 16, "device": "cpu"}
    features(settings=FeaturesConfig.model_validate(settings), **files)
    place = folder / "results" / "shop"
    (place / "features").mkdir(parents=True)
    for name in ("text", "image"):  # written once more, since a file of results/ is sealed for its place
        FeatureFile.read(files[name]).write(place / "features" / f"{name}.safetensors")
    shutil.copy(files["encoder"], folder / "encoder.safetensors")
    run, data = saved(place / "runs" / "sasrec" / "seed-0", name="sasrec")
    data.write(place / "sequences.parquet")
    write_vocab(place / "vocab.parquet", ITEMS)
    new = folder / "new"
    (new / "pictures").mkdir(parents=True)
    random = np.random.default_rng(1)
    rows = ["item,title,category,image"]
    for number in (7, 50, 51):
        picture, text = drawing(number, random)
        picture.save(new / "pictures" / f"{number}.png")
        rows.append(f'new {number},"{text}",Shapes > New,pictures/{number}.png')
    rows += ["item 3,known already,,", "bare,,,pictures/missing.png", "of words,a red circle,,"]
    (new / "items.csv").write_text("\n".join(rows) + "\n")
    return run, new / "items.csv"


def test_new_products_are_encoded_added_and_recommended(tmp_path: Path) -> None:
    run, table = shop(tmp_path)
    encoder = tmp_path / "encoder.safetensors"
    add_items(run=run, items=table, encoder=encoder)
    place = tmp_path / "results" / "shop" / "added" / "sasrec"
    written = {path.name for path in place.iterdir() if path.suffix != ".seal"}
    assert written == {"model.safetensors", "config.json", "added.safetensors", "added.parquet", "without-picture.csv"}
    found, before = decorec.load(place), decorec.load(run)
    new = ["new 7", "new 50", "new 51", "of words"]
    assert found.items == [*ITEMS, *new], "known items are passed over, and what has neither text nor picture"
    model = found.model
    assert isinstance(model, WithAddedItems)
    # Item 7 is a drawing of the same shape and colour.
    assert "item 7" in [found.items[item] for item in model.added.neighbours[0].tolist()]
    history = names(small.sequences(), 0)
    known = [one.item for one in before.recommend(history, 40)]
    assert [one.item for one in found.recommend(history, 40, only=ITEMS)] == known
    lists = tmp_path / "lists.parquet"
    rows = [f"{user},{item},{time}" for user in ("ann", "bob") for time, item in enumerate([*history, "new 50"])]
    (tmp_path / "baskets.csv").write_text("\n".join(["user,item,timestamp", *rows]) + "\n")
    recommend(run=place, histories=tmp_path / "baskets.csv", output=lists)
    with pytest.raises(DecorecError, match="expected a trained run, found one with added items, whose scores are no"):
        export(run=place, format="npy", output=tmp_path / "export")
    whole = tmp_path / "whole.parquet"
    data_set = tmp_path / "results" / "shop"
    recommend(run=place, sequences=data_set / "sequences.parquet", vocab=data_set / "vocab.parquet", output=whole)
    assert pl.read_parquet(whole)["item"].is_in(new).any()
    listed = pl.read_parquet(lists)
    assert not set(listed["item"]) & {*history, "new 50"} and set(listed["reason"]) == {"model"}
    again = before.add_items(table, encoder=encoder)
    assert [one.item for one in again.recommend(history, 20)] == [one.item for one in found.recommend(history, 20)]
    loud = before.add_items(str(table), encoder=str(encoder), exposure=5)
    assert isinstance(loud.model, WithAddedItems)
    assert loud.model.added.offset > again.model.added.offset  # type: ignore[union-attr]


def test_new_products_without_a_usable_picture_are_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With what happened to each address; those that are left out, since they have no text either, among them."""
    run, table = shop(tmp_path)
    (table.parent / "pictures" / "51.png").write_bytes(b"no picture")
    add_items(run=run, items=table, encoder=tmp_path / "encoder.safetensors")
    file = tmp_path / "results/shop/added/sasrec/without-picture.csv"
    assert sorted(pl.read_csv(file).select("item", "url", "status", "error").iter_rows()) == [
        ("bare", "pictures/missing.png", "permanent", "missing-file"),
        ("new 51", "pictures/51.png", "permanent", "not-an-image"),
        ("of words", None, None, None),
    ]
    end = f"3 new items of {table} have no usable picture, 2 of which name one: {file} says which, and why"
    assert [line for line in caplog.messages if "no usable picture" in line] == [end]
    rows = table.read_text().splitlines()
    table.write_text("\n".join([rows[0], *(row for row in rows if "/" in row and "new 51" not in row)]) + "\n")
    caplog.clear()
    (table.parent / "pictures" / "missing.png").write_bytes((table.parent / "pictures" / "7.png").read_bytes())
    add_items(run=run, items=table, encoder=tmp_path / "encoder.safetensors")
    assert pl.read_csv(file).is_empty() and "no usable picture" not in caplog.text


def test_a_server_knows_the_new_products(tmp_path: Path) -> None:
    """By title, text, category and picture, without a flag; and those that are added while it runs."""
    run, table = shop(tmp_path)
    data_set, encoder = tmp_path / "results/shop", tmp_path / "encoder.safetensors"
    bought = pl.DataFrame(
        {"item": ITEMS, "title": "Sold for years", "text": "Sold for years", "categories": [["Old"]] * 40}
    )
    write_table(data_set / "items.parquet", bought)
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith("new 51")) + "\n")
    place, history = data_set / "added/sasrec", [ITEMS[3]]
    add_items(run=run, items=table, encoder=encoder)
    titles = {line.split(",")[0]: line.split('"')[1] for line in lines if line.startswith("new")}
    with serving(place, "--watch", "0.05") as service:
        (of_words,) = service.get("/search?q=of words").json()["items"][:1]
        assert of_words == {"item": "of words", "title": "a red circle", "picture": None, "known": True}
        found = {each["item"]: each for each in service.get("/search?q=new").json()["items"]}
        assert set(found) == {"new 7", "new 50"}
        assert all(each["title"] == titles[item] for item, each in found.items())
        picture = service.get(found["new 7"]["picture"])
        assert picture.status_code == 200 and picture.content.startswith(b"\xff\xd8")
        listed = service.recommend(history, k=5, category="New")
        assert {each["item"]: each["title"] for each in listed} == {item: titles[item] for item in found}
        assert {each["title"] for each in service.recommend(history, category="Old")} == {"Sold for years"}
        table.write_text("\n".join(lines) + "\n")
        add_items(run=run, items=table, encoder=encoder)
        while service.get("/health").json()["items"] == len(ITEMS) + 3:
            time.sleep(0.01)
        found = {each["item"]: each for each in service.get("/search?q=new").json()["items"]}
        assert set(found) == {"new 7", "new 50", "new 51"} and found["new 51"]["title"] == titles["new 51"]
        write_table(data_set / "items.parquet", bought.with_columns(title=pl.lit("Sold for longer")))
        service.process.send_signal(signal.SIGHUP)
        while service.recommend(history, k=1, category="Old")[0]["title"] != "Sold for longer":
            time.sleep(0.01)
    (tmp_path / "baskets.csv").write_text("user,item,timestamp\nann,item 3,1\n")
    recommend(
        run=place,
        settings=RecommendConfig(categories=["New"]),
        histories=tmp_path / "baskets.csv",
        output=tmp_path / "lists.parquet",
    )
    assert set(pl.read_parquet(tmp_path / "lists.parquet")["item"]) == set(found)


def test_a_folder_whose_writing_was_cut_off_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be the run without the new products."""
    run, table = shop(tmp_path)
    call = partial(add_items, run=run, items=table, encoder=tmp_path / "encoder.safetensors")
    place = tmp_path / "results" / "shop" / "added" / "sasrec"

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("decorec.recommend.add_items.write_added", cut)
        call()
    assert (place / "model.safetensors").is_file() and (place / "config.json").is_file()
    with pytest.raises(DecorecError, match=r"added\.safetensors: expected items that were added .* run add-items"):
        decorec.load(place)
    with provenance():  # as the command line runs a step
        call()
    with provenance():
        assert "new 7" in decorec.load(place).items


def test_a_shop_without_pictures_takes_new_products_that_have_some(tmp_path: Path) -> None:
    """Its encoder knows none, and no known product could be compared with them."""
    run, table = shop(tmp_path)
    place = tmp_path / "results" / "shop"
    (tmp_path / "bare").mkdir()
    write_tables(tmp_path / "bare", [f"a red circle {number}" for number in range(40)], [])
    catalogue = pl.read_parquet(tmp_path / "bare/items.parquet").with_columns(item=pl.Series(ITEMS))
    catalogue.write_parquet(tmp_path / "bare/items.parquet")
    files = step_files(tmp_path / "bare")
    features(settings=FeaturesConfig.model_validate({"encoder": "fit", "device": "cpu"}), **files)
    for name in ("text", "image"):
        FeatureFile.read(files[name]).write(place / "features" / f"{name}.safetensors")
    add_items(run=run, items=table, encoder=files["encoder"])
    assert decorec.load(place / "added" / "sasrec").items == [*ITEMS, "new 7", "new 50", "new 51", "of words"]
    assert pl.read_csv(place / "added" / "sasrec" / "without-picture.csv").is_empty(), "none would be used"


def test_what_cannot_be_added_is_refused_with_words(tmp_path: Path) -> None:
    run, table = shop(tmp_path)
    with pytest.raises(
        DecorecError, match=r"items.csv: expected items with a row in --features, or --encoder .*'new 7'"
    ):
        add_items(run=run, items=table)
    (tmp_path / "known.csv").write_text("item,title\nitem 3,known\n")
    with pytest.raises(DecorecError, match="expected an item that the model does not know, found 1 known ones"):
        add_items(run=run, items=tmp_path / "known.csv", encoder=tmp_path / "encoder.safetensors")
    (tmp_path / "bare.csv").write_text("item,title\nbare,\n")
    with pytest.raises(DecorecError, match="expected a text or a picture of a new item, found none of 1"):
        add_items(run=run, items=tmp_path / "bare.csv", encoder=tmp_path / "encoder.safetensors")
    (tmp_path / "respelt.csv").write_text("item,title\nitem 3\u200b,a red circle\n")
    with pytest.raises(DecorecError, match=r"respelt.csv: expected item 'item 3' of the model, found 'item 3\\u200b'"):
        add_items(run=run, items=tmp_path / "respelt.csv", encoder=tmp_path / "encoder.safetensors")
    pl.DataFrame({"item": ["a\nb"], "title": ["a red circle"]}).write_parquet(tmp_path / "broken.parquet")
    with pytest.raises(DecorecError, match=r"ids without line breaks, found 'a\\nb'"):
        add_items(run=run, items=tmp_path / "broken.parquet", encoder=tmp_path / "encoder.safetensors")
    with pytest.raises(DecorecError, match="exposure: expected a number above 0, such as 1, found -1"):
        add_items(run=run, items=table, encoder=tmp_path / "encoder.safetensors", exposure=-1)
    place = tmp_path / "results/shop"
    arrays, metadata = read_arrays(tmp_path / "encoder.safetensors")
    with provenance():
        write_arrays(place / "encoder.safetensors", arrays, metadata)
        for file in sorted((place / "features").iterdir()):
            FeatureFile.read(file).write(file)
    write_arrays(place / "encoder.safetensors", arrays, {**metadata, "fitted": "again"})
    with pytest.raises(DecorecError, match=r"made from results/shop/encoder.safetensors as it is"):
        decorec.load(run).add_items(table)
    elsewhere, _ = saved(tmp_path / "elsewhere", name="sasrec")
    with pytest.raises(DecorecError, match="--features: expected the features of the known items"):
        add_items(run=elsewhere, items=table, output=tmp_path / "out")
    given = sorted((tmp_path / "results/shop/features").iterdir())
    with pytest.raises(DecorecError, match="expected a run in results/, or --output, found neither"):
        add_items(run=elsewhere, items=table, features=given)
    with pytest.raises(DecorecError, match="histories: expected what customers bought"):
        add_items(
            run=elsewhere,
            items=table,
            features=given,
            encoder=tmp_path / "encoder.safetensors",
            output=tmp_path / "out",
        )


def test_vectors_of_ones_own_bring_new_items(tmp_path: Path) -> None:
    """A data set whose features were given has no encoder: the new items come with their vectors, in any order."""
    run, data = saved(tmp_path / "results/shop/runs/sasrec/seed-0", name="sasrec")
    data.write(tmp_path / "results/shop/sequences.parquet")
    write_vocab(tmp_path / "results/shop/vocab.parquet", ITEMS)
    x = np.random.default_rng(0).normal(size=(len(ITEMS), 5))
    old = pl.DataFrame({"item": ITEMS, "vector": x})
    new = pl.DataFrame({"item": ["like the last", "like the first"], "vector": x[[-1, 0]]})
    pl.concat([new, old]).write_parquet(tmp_path / "audio.parquet")
    table = tmp_path / "new.csv"
    new.select("item").write_csv(table)
    add_items(run=run, items=table, features=[tmp_path / "audio.parquet"])
    added = decorec.load(tmp_path / "results/shop/added/sasrec")
    assert added.items == [*ITEMS, "like the last", "like the first"]
    for item, like in (("like the last", ITEMS[-1]), ("like the first", ITEMS[0])):
        assert added.similar(item, k=1)[0].item == like
    new.write_parquet(tmp_path / "audio.parquet")
    with pytest.raises(
        DecorecError, match=r"audio\.parquet: expected vectors of the known items as well, .* found none"
    ):
        add_items(run=run, items=table, features=[tmp_path / "audio.parquet"])
    old.write_parquet(tmp_path / "audio.parquet")
    with pytest.raises(DecorecError, match="and no encoder; give it, or as --features vectors of your own"):
        add_items(run=run, items=table, features=[tmp_path / "audio.parquet"])
