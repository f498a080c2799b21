"""Data sets as they are released: each is written here in its own format, and read to the right values."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from decorec.acquire.sources.registry import open_tables
from decorec.config.datasets import Dataset
from decorec.errors import DecorecError
from tests.acquire.sources.ingested import SALES, ingested

# --- MicroLens -----------------------------------------------------------------------------------------------------


def microlens(folder: Path, pairs: list[str], titles: list[str]) -> dict[str, str]:
    (folder / "MicroLens-100k_covers").mkdir()
    (folder / "MicroLens-100k_pairs.csv").write_text("\n".join(["user,item,timestamp", *pairs]) + "\n")
    (folder / "MicroLens-100k_title_en.csv").write_text("\n".join(titles) + "\n")
    return {"source": "microlens", "path": str(folder)}


PAIRS = [f"{user[1:]},{item + 1},{time}{item}5{user[1:]}" for user, item, time in SALES]
TITLES = ["1,A cat sings", "2,Cook, eat, sleep", '3,"He said ""no"", again"', "4,"]


def test_microlens(tmp_path: Path) -> None:
    # Two within a second, in the file against time; one repeated; one without an item; one of a video without a title.
    dirty = ["0,1,1700000000900", "0,2,1700000000100", PAIRS[0], "0,,1700000000000", "0,77,1700000000000"]
    section = microlens(tmp_path, PAIRS + dirty, [*TITLES, ",nameless", "1,again"])
    kept, items, counts = ingested(tmp_path, section)
    assert kept["user"].unique().sort().to_list() == ["0", "1", "2", "3"]
    own = kept.filter(user="0").select("item", "timestamp").rows()
    assert own == [(str(item + 1), time) for user, item, time in SALES if user == "u0"] + [
        ("2", 1_700_000_000),
        ("1", 1_700_000_000),
    ]
    assert kept["rating"].null_count() == len(kept) == 18
    assert dict(items.select("item", "title").rows()) == {
        "1": "A cat sings",
        "2": "Cook, eat, sleep",
        "3": "He said no, again",
        "4": "",
    }
    assert items.filter(item="3")["image_urls"].to_list() == [["MicroLens-100k_covers/3.jpg"]]
    assert counts["interactions"]["dropped"] == {"no user": 0, "no item": 1, "no timestamp": 0}
    assert counts["items"]["dropped"] == {"no item": 1, "repeated item": 1}
    assert [step["dropped"] for step in counts["filter"][:2]] == [
        {"duplicate (exact)": 1},
        {"item without metadata": 1},
    ]


def test_microlens_refuses_what_it_would_read_wrongly(tmp_path: Path) -> None:
    section = microlens(tmp_path, PAIRS, [*TITLES, "and more of it"])
    with pytest.raises(
        DecorecError, match=r"title_en\.csv, line 5: expected the number of an item.*'and more of it' \(1"
    ):
        ingested(tmp_path, section)
    with pytest.raises(DecorecError, match=r"pairs\.tsv: expected the csv file of pairs, found the tsv file"):
        ingested(tmp_path, section | {"interactions": "MicroLens-100k_pairs.tsv"})
    (tmp_path / "MicroLens-100k_title_en.csv").write_text("\n".join(["item,title", *TITLES]))
    with pytest.raises(DecorecError, match=r"/covers: expected the folder with the covers.*write covers: null"):
        ingested(tmp_path, section | {"covers": "covers"})
    _, items, _ = ingested(tmp_path, section | {"covers": None})
    assert len(items) == 4 and items["image_urls"].list.len().sum() == 0


# --- H&M -----------------------------------------------------------------------------------------------------------

ARTICLES = (
    "article_id,product_code,prod_name,product_type_no,product_type_name,colour_group_name,index_group_name,detail_desc"
)


def hm(folder: Path, articles: list[str], ids: str = "010877501{}") -> dict[str, str]:
    days = {item: datetime.fromtimestamp(time, UTC).date() for user, item, time in SALES if user == "u0"}
    rows = [f"{days[item]},{user}f0,{ids.format(item)},0.0508,2" for user, item, _ in SALES]
    rows += [rows[0], "2018-09-20,,0108775010,0.05,1", f"{days[0]},u1f0,0108775013,0.01,1"]
    header = "t_dat,customer_id,article_id,price,sales_channel_id"
    (folder / "images").mkdir(exist_ok=True)
    (folder / "transactions_train.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "articles.csv").write_text("\n".join([ARTICLES, *articles]) + "\n")
    return {"source": "hm", "path": str(folder)}


OWN = [
    '0108775010,0108775,Strap top,253,Vest top,Black,Ladieswear,"Jersey top, narrow straps."',
    "0108775011,0108775,Strap top (1),253,Vest top,White,Ladieswear,",
    "0108775012,0108775,Dress,265,,Red,Divided,A dress",
    "0108775013,0108775,Hat,265,Hat,Red,Divided,A hat",
]


def test_hm(tmp_path: Path) -> None:
    kept, items, counts = ingested(tmp_path, hm(tmp_path, OWN))
    day = {item: time - time % 86_400 for user, item, time in SALES if user == "u0"}
    expected = [(f"{user}f0", f"010877501{item}", day[item]) for user, item, _ in SALES]
    assert kept.select("user", "item", "timestamp").rows() == [*expected, ("u1f0", "0108775013", day[0])]
    assert counts["interactions"]["dropped"] == {"no user": 1, "no item": 0, "no timestamp": 0}
    assert counts["filter"][0]["dropped"] == {"duplicate (exact)": 1}
    assert items["item"].to_list() == [f"010877501{item}" for item in range(4)]
    assert items["text"].to_list()[0] == "Strap top. Ladieswear Vest top Black. Jersey top, narrow straps."
    assert items["categories"].to_list()[2] == ["Divided", "Red"]
    assert items["image_urls"].to_list()[1] == ["images/010/0108775011.jpg"]


def test_hm_refuses_articles_that_have_lost_their_zeros(tmp_path: Path) -> None:
    bare = [row.removeprefix("0") for row in OWN]
    place = (
        r"articles\.csv, record 1, column 'article_id': expected 10 digits such as 0108775015, found '108775010' \(4"
    )
    with pytest.raises(DecorecError, match=place):
        ingested(tmp_path, hm(tmp_path, bare, "10877501{}"))
    with pytest.raises(
        DecorecError, match=r"articles\.csv: expected item '108775010' of the interactions, found '0108"
    ):
        ingested(tmp_path, hm(tmp_path, OWN, "10877501{}"))
    (tmp_path / "images").rmdir()
    with pytest.raises(DecorecError, match=r"/images: expected the folder with the pictures.*write images: null"):
        ingested(tmp_path, {"source": "hm", "path": str(tmp_path)})
