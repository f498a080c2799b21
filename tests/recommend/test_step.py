"""The step recommend: every customer gets a list, from each kind of input."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import decorec
from decorec.acquire.histories import histories
from decorec.artifacts.files import write_table
from decorec.config.datasets import TableDataset
from decorec.config.prepare import FilterConfig
from decorec.config.recommend import RecommendConfig
from decorec.errors import DecorecError
from decorec.recommend.histories import read_ids
from decorec.recommend.step import recommend
from tests.recommend.test_trained import ITEMS, names, saved
from tests.support import small

SHOP = """user,item,timestamp
ann,item 3,100
bob,item 9,50
ann,item 5,90.5
ann,item 5,90.5
cid,unheard of,7
ann,item 3,300
bob,item 1,10
dan,item 0,1
"""
BOUGHT = {"ann": ["item 5", "item 3", "item 3"], "bob": ["item 1", "item 9"], "cid": ["unheard of"], "dan": ["item 0"]}


def lists(frame: pl.DataFrame) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for user, rank, item in frame.select("user", "rank", "item").iter_rows():
        found.setdefault(user, []).append(item)
        assert len(found[user]) == rank
    return found


def run(folder: Path, output: str = "lists.parquet", settings: dict[str, Any] | None = None, **more: Any) -> Path:
    """The step with the settings, on the shop of four customers unless ``more`` says otherwise."""
    (folder / "shop.csv").write_text(SHOP)
    model, _ = saved(folder / "model")
    files = more or {"histories": folder / "shop.csv"}
    recommend(run=model, settings=RecommendConfig(**(settings or {})), output=folder / output, **files)
    return folder / output


def expected(folder: Path, **words: Any) -> dict[str, list[str]]:
    found = decorec.load(folder / "model").recommend_many(list(BOUGHT.values()), **words)
    return {user: [one.item for one in items] for user, items in zip(BOUGHT, found, strict=True) if items}


def test_every_customer_gets_a_list_also_with_one_purchase_or_unknown_items(tmp_path: Path) -> None:
    found = pl.read_parquet(run(tmp_path))
    assert lists(found) == expected(tmp_path)
    assert found.filter(pl.col("reason") == "popular")["user"].unique().to_list() == ["cid"]
    assert found.group_by("user").len()["len"].to_list() == [12] * 4
    assert (tmp_path / "lists.parquet").exists()


def test_blanks_around_ids_do_not_count(tmp_path: Path) -> None:
    own = pl.read_parquet(run(tmp_path))
    wide = tmp_path / "wide.csv"
    wide.write_text(SHOP.replace("item 3", " item 3 ").replace("bob", " bob"))
    assert pl.read_parquet(run(tmp_path, "wide.parquet", histories=wide)).equals(own)
    similar = [tmp_path / "near.csv", tmp_path / "wide-near.csv"]
    for output, item in zip(similar, ("item 7", " item 7"), strict=True):
        run(tmp_path, output.name, similar_to=item)
    assert similar[0].read_bytes() == similar[1].read_bytes()


def test_settings_are_heeded(tmp_path: Path) -> None:
    (tmp_path / "stock.txt").write_text("item 2\n\n item 4 \nitem 6\nitem 3\nnot sold any more\n")
    (tmp_path / "banned.csv").write_text("item,why\nitem 6,recalled\n")
    settings = {"k": 3, "only": str(tmp_path / "stock.txt"), "exclude_items": str(tmp_path / "banned.csv")}
    found = lists(pl.read_csv(run(tmp_path, "lists.csv", settings)))
    assert found == expected(tmp_path, k=3, only=["item 2", "item 4", "item 3"])
    assert set(found["ann"]) == {"item 2", "item 4"}, "item 3 was bought"
    assert not list(tmp_path.glob("*.seal")), "a file for others has nothing beside it"
    settings = {"k": 40, "exclude": "nothing", "fallback": "none"}
    found = lists(pl.read_parquet(run(tmp_path, settings=settings)))
    assert found == expected(tmp_path, k=40, exclude="nothing", fallback="none")
    assert {user: len(items) for user, items in found.items()} == {"ann": 40, "bob": 40, "dan": 40}


def test_categories_limit_the_candidates(tmp_path: Path) -> None:
    catalogue = tmp_path / "items.parquet"
    groups = [["Home", "Lamps"] if number % 4 == 0 else ["Home"] for number in range(40)]
    write_table(catalogue, pl.DataFrame({"item": ITEMS, "categories": groups}))
    files = {"histories": tmp_path / "shop.csv", "catalogue": catalogue}
    found = lists(pl.read_parquet(run(tmp_path, settings={"categories": ["Lamps"], "k": 4}, **files)))
    assert found == expected(tmp_path, k=4, only=ITEMS[::4])
    with pytest.raises(DecorecError, match=r"categories of .*items.parquet \(such as Home, Lamps\), found Shoes"):
        run(tmp_path, settings={"categories": ["Lamps", "Shoes"]}, **files)


def test_the_histories_of_a_source_hold_everyone(tmp_path: Path) -> None:
    """Also customers whom no k-core would keep; duplicates are dropped as for the training."""
    (tmp_path / "shop.csv").write_text(SHOP)
    section = TableDataset(source="table", path=str(tmp_path), interactions="shop.csv")
    for kind, rows in (("exact", 7), ("pair", 6)):
        output = tmp_path / f"results/{kind}/histories.parquet"
        histories(dataset=section, filter=FilterConfig(duplicates=kind), histories=output)
        assert len(pl.read_parquet(output)) == rows
        found = lists(pl.read_parquet(run(tmp_path, histories=output)))
        assert set(found) == set(BOUGHT)
        assert set(found["bob"]) == set(expected(tmp_path)["bob"])


def test_given_sequences_are_whole_histories(tmp_path: Path) -> None:
    data = small.sequences()
    files = small.files(tmp_path, data, small.run())
    found = lists(pl.read_parquet(run(tmp_path, sequences=files["sequences"], vocab=files["vocab"])))
    trained = decorec.load(tmp_path / "model")
    assert list(found) == data.users
    for user in range(10):
        assert found[data.users[user]] == [one.item for one in trained.recommend(names(data, user))]


def test_similar_items_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, _ = saved(tmp_path)
    recommend(run=model, similar_to="item 4", settings=RecommendConfig(k=2))
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "rank,item,score"
    assert [row.split(",")[:2] for row in rows] == [
        [str(rank), one.item] for rank, one in enumerate(decorec.load(model).similar("item 4", 2), 1)
    ]
    (tmp_path / "stock.txt").write_text("item 30\nitem 4\n")
    recommend(run=model, similar_to="item 4", settings=RecommendConfig(only=str(tmp_path / "stock.txt")))
    assert [row.split(",")[1] for row in capsys.readouterr().out.splitlines()[1:]] == ["item 30"]


def test_what_changes_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ids that the model does not know, and rows without an item or a time."""
    (tmp_path / "banned.txt").write_text("item 60\nitem 61\n")
    (tmp_path / "baskets.csv").write_text("user,item,timestamp\nann,x 3,1\nann,item 4,\nbob,,3\n")
    with caplog.at_level("WARNING"):
        run(tmp_path, settings={"exclude_items": str(tmp_path / "banned.txt")}, histories=tmp_path / "baskets.csv")
    for words in (
        "banned.txt: 2 ids, 0 of them of the model's items (such as 'item 60' and 'item 0')",
        "baskets.csv: 1 rows left out: no timestamp, such as record 2: user 'ann', item 'item 4'",
        "baskets.csv: 1 rows left out: no item",
        "nobody has an item of the model's, such as 'item 0'",
    ):
        assert words in caplog.text


@pytest.mark.parametrize("name", ["ids.csv", "ids.tsv", "ids.tsv.gz"])
def test_ids_are_the_column_item_of_a_table(name: str, tmp_path: Path) -> None:
    content = "why\titem\nold\t007\n\t8 \nnone\t\n".replace("\t", "," if name == "ids.csv" else "\t").encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_ids(tmp_path / name) == ["007", "8"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('title,item\n"5 nail,A\nx,B\nC,C\n"D,D\n', r"ids\.csv.*(quote|closing)"),
        ("title,item\nx,A\ny, z,B\nw,C\n", r"ids\.csv, line 3: expected 2 fields as in the header, found 3"),
        ("item\n4.00123E+12\n5\n", r"ids\.csv, column 'item': expected whole ids, found 1 such as '4\.00123E\+12'"),
        ("item\n7.0\n7\n", r"ids\.csv, column 'item': expected each id in one spelling, found '7\.0' and '7'"),
    ],
)
def test_a_table_of_ids_that_would_lose_some_is_refused(content: str, message: str, tmp_path: Path) -> None:
    """Or an item that nobody shall get would be recommended."""
    (tmp_path / "ids.csv").write_text(content)
    with pytest.raises(DecorecError, match=message):
        read_ids(tmp_path / "ids.csv")


def test_ids_that_are_fractions_are_refused(tmp_path: Path) -> None:
    pl.DataFrame({"item": [1.0, None]}).write_parquet(tmp_path / "ids.parquet")
    with pytest.raises(DecorecError, match=r"column 'item': expected ids as text or whole numbers, found Float64"):
        read_ids(tmp_path / "ids.parquet")


@pytest.mark.parametrize(
    ("ending", "what"), [("csv", "exclude_items"), ("txt", "only"), ("csv", "histories"), ("csv", "similar")]
)
def test_items_of_the_model_in_another_spelling_are_refused(ending: str, what: str, tmp_path: Path) -> None:
    """As a program that takes ids for numbers writes them: they would be unknown, and the list another one."""
    model, _ = saved(tmp_path / "model", items=[f"{number:04}" for number in range(40)])
    path = tmp_path / f"file.{ending}"
    path.write_text("user,item,timestamp\nann,7,1\nann,0008,2\n" if ending == "csv" else "7\n0008\n")
    files = {"histories": path} if what == "histories" else {"similar_to": "0001"}
    settings = {} if what == "histories" else {"exclude_items" if what == "similar" else what: str(path)}
    message = rf"file\.{ending}: expected item '0007' of the model, found '7' \(1 items differ in leading zeros"
    with pytest.raises(DecorecError, match=message):
        recommend(run=model, settings=RecommendConfig(**settings), **files)
    path.write_text(path.read_text() + ("ann,0007,3\n" if ending == "csv" else "0007\n"))
    recommend(run=model, settings=RecommendConfig(**settings), output=tmp_path / "lists.csv", **files)


@pytest.mark.parametrize("line", ["item 7;3", '"item 7"', "sold,item 7", "x\titem 7", "'item 7'"])
def test_a_text_file_with_more_than_ids_is_refused(line: str, tmp_path: Path) -> None:
    """Its lines would be unknown ids, and who shall get nothing of them would get it."""
    path = tmp_path / "ids.txt"
    path.write_text(f"item 3\n{line}\n")
    with pytest.raises(DecorecError, match=r"ids.txt: expected one id on each line, found .*, in which 'item 7' is an"):
        run(tmp_path, settings={"exclude_items": str(path)})
    path.write_text("item 3\nnever sold, item 7 and more\n")
    assert "item 3" not in set(pl.read_parquet(run(tmp_path, settings={"exclude_items": str(path)}))["item"])


def test_where_items_have_commas_a_line_of_several_is_another_item(tmp_path: Path) -> None:
    model, _ = saved(tmp_path / "model", items=["a,b", *(f"item {number}" for number in range(1, 40))])
    path = tmp_path / "ids.txt"
    path.write_text("a,b\nitem 7,b\n")
    recommend(run=model, settings=RecommendConfig(only=str(path)), similar_to="item 5", output=tmp_path / "lists.csv")
    assert pl.read_csv(tmp_path / "lists.csv")["item"].to_list() == ["a,b"]


def test_where_zeros_tell_items_apart_another_one_is_unknown(tmp_path: Path) -> None:
    """What the model knows as 7 and 007 cannot be meant by 07; by 007.0 it is, and so is 0008 by 8."""
    own = ["7", "007", "0008", *(f"item {number}" for number in range(3, 40))]
    model, _ = saved(tmp_path / "model", items=own)
    path, lists = tmp_path / "ids.txt", tmp_path / "lists.csv"

    def nearest(ids: str) -> set[str]:
        path.write_text(ids)
        recommend(run=model, settings=RecommendConfig(only=str(path)), similar_to="item 5", output=lists)
        return set(pl.read_csv(lists, infer_schema=False)["item"])

    assert nearest("7\n07\nitem 9\n") == {"7", "item 9"}
    assert nearest("07\nitem 9\n") == {"item 9"}
    with pytest.raises(DecorecError, match=r"expected item '007' of the model, found '007\.0' \(1 items differ in"):
        nearest("7\n007.0\n")
    with pytest.raises(DecorecError, match=r"expected item '0008' of the model, found '8' \(1 items differ in"):
        nearest("7\n07\n8\n")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DecorecError, match="expected --histories, --sequences with --vocab, or --similar-to"):
        run(tmp_path, sequences=tmp_path / "sequences.parquet")
    with pytest.raises(DecorecError, match=r"lists.txt: expected a name that ends in .parquet or .csv"):
        run(tmp_path, "lists.txt")
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(DecorecError, match=r"none.txt: expected item ids, one per line, .* found none"):
        run(tmp_path, settings={"only": str(tmp_path / "none.txt")})
    with pytest.raises(DecorecError, match=r"gone.csv: expected item ids"):
        run(tmp_path, settings={"only": str(tmp_path / "gone.csv")})
    with pytest.raises(DecorecError, match=r"missing.csv"):
        run(tmp_path, histories=tmp_path / "missing.csv")


def test_many_customers_are_as_each_alone(tmp_path: Path) -> None:
    """Blocks of users of different lengths: every list lands at its customer."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 30, 300)
    rows = [
        (f"c{user}", f"item {random.integers(45)}", n) for user, length in enumerate(lengths) for n in range(length)
    ]
    frame = pl.DataFrame(rows, ["user", "item", "timestamp"], orient="row").sample(fraction=1, shuffle=True, seed=1)
    frame.write_csv(tmp_path / "many.csv")
    found = lists(pl.read_parquet(run(tmp_path, histories=tmp_path / "many.csv")))
    trained = decorec.load(tmp_path / "model")
    bought = dict(frame.sort("timestamp").group_by("user").agg("item").iter_rows())
    assert len(found) == 300
    alone = [[one.item for one in items] for items in trained.recommend_many([bought[user] for user in found])]
    assert alone == list(found.values())
