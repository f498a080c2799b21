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


# --- Yelp ----------------------------------------------------------------------------------------------------------


def yelp(folder: Path, businesses: list[dict[str, object] | str], photos: list[dict[str, str] | str]) -> dict[str, str]:
    reviews: list[dict[str, object] | str] = []
    for user, item, time in SALES:
        date = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S")
        named = {"review_id": f"r{len(reviews)}", "user_id": user, "business_id": f"b{item}", "stars": 4.0, "useful": 0}
        reviews.append({**named, "text": 'Fine, "really"\n', "date": date})
    reviews += ["{cut", {"review_id": "r", "user_id": "u0", "business_id": None, "stars": 1.0, "date": "2018-07-07"}]
    files = {"photos.json": photos}
    files |= {
        f"yelp_academic_dataset_{name}.json": rows for name, rows in (("review", reviews), ("business", businesses))
    }
    for name, rows in files.items():
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / name).write_text("\n".join(lines) + "\n")
    (folder / "photos").mkdir(exist_ok=True)
    return {"source": "yelp", "path": str(folder)}


PLACE = {"city": "Tampa", "state": "FL", "stars": 3.5, "attributes": {"WiFi": "u'free'"}, "hours": None}
BUSINESSES: list[dict[str, object] | str] = [
    {"business_id": "b0", "name": "Ana's", "categories": "Mexican, Bars & Pubs", **PLACE},
    {"business_id": "b1", "name": "Old", "categories": ["Food", "Tea"], **PLACE},
    {"business_id": "b2", "name": "Plain", "categories": None, **PLACE, "city": "", "state": None},
    {"business_id": "b3", "name": None, "categories": "Food", **PLACE},
]
SHOWN: list[dict[str, str] | str] = [
    {"photo_id": "p2", "business_id": "b0", "caption": "", "label": "food"},
    {"photo_id": "p3", "business_id": "b1", "caption": "Door", "label": "outside"},
    {"photo_id": "p1", "business_id": "b0", "caption": "", "label": "inside"},
    {"photo_id": "p0", "business_id": "gone", "caption": "", "label": "inside"},
]


def test_yelp(tmp_path: Path) -> None:
    section = yelp(tmp_path, BUSINESSES, SHOWN)
    kept, items, counts = ingested(tmp_path, section)
    assert kept.rows() == [(user, f"b{item}", 4.0, time) for user, item, time in SALES]
    lost = counts["interactions"]
    assert lost["lines"] == 18 and lost["dropped"] == {
        "not JSON": 1,
        "line too long": 0,
        "no user": 0,
        "no item": 1,
        "no timestamp": 0,
    }
    assert items["title"].to_list() == ["Ana's", "Old", "Plain", ""]
    assert items["text"][0] == "Ana's. Mexican Bars & Pubs. Tampa, FL."
    assert items["categories"].to_list() == [["Mexican", "Bars & Pubs"], ["Food", "Tea"], [], ["Food"]]
    assert items["image_urls"].to_list() == [["photos/p2.jpg", "photos/p1.jpg"], ["photos/p3.jpg"], [], []]
    assert counts["items"]["photos"] == 4 and counts["items"]["dropped"]["photo of no item"] == 1
    source = open_tables(TypeAdapter(Dataset).validate_python(section))
    assert sorted(source.picture_names()) == [f"photos/p{n}.jpg" for n in range(4)] and source.has_pictures()
    assert [path.name for path in source.paths()][2:] == ["photos.json"]
    _, items, _ = ingested(tmp_path, section | {"photos": None})
    assert items["image_urls"].list.len().sum() == 0


def test_yelp_refuses_damaged_files(tmp_path: Path) -> None:
    section = yelp(tmp_path, BUSINESSES, [*SHOWN, *["<html>"] * 4])
    with pytest.raises(DecorecError, match=r"photos\.json: .* found not JSON: 4 of 8, such as line 5: <html>; line 6"):
        ingested(tmp_path, section)
    section = yelp(tmp_path, [*BUSINESSES, *["oh"] * 4], SHOWN)
    with pytest.raises(DecorecError, match=r"business\.json: .* found not JSON: 4 of 8, such as line 5: oh; line 6"):
        ingested(tmp_path, section)


# --- RecBole -------------------------------------------------------------------------------------------------------


def recbole(folder: Path, inter: list[str], item: list[str], heading: str = "user_id:token") -> dict[str, object]:
    fields = [heading, "item_id:token", "rating:float", "timestamp:float"]
    (folder / "shop.inter").write_text("\n".join(["\t".join(fields), *inter]) + "\n")
    fields = ["item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"]
    (folder / "shop.item").write_text("\n".join(["\t".join(fields), *item]) + "\n")
    files = {"interactions": "shop.inter", "items": "shop.item"}
    named = {"item_columns": {"title": "movie_title", "category": "class"}}
    return {"source": "recbole", "path": str(folder), **files, **named}


RATED = [f"{user}\t00{item}\t4.5\t{time}.0" for user, item, time in SALES]
FILMS = [
    '000\t"Great" Escape\t1963\tWar Drama',
    "001\tToy Story\t1995\tChildren's ",
    "002\t\t\t",
    "003\tHeat\t1995\tDrama",
]


def test_recbole(tmp_path: Path) -> None:
    kept, items, counts = ingested(tmp_path, recbole(tmp_path, [*RATED, "u0\t\t1\t5", "u0\t000\t1\t"], FILMS))
    assert kept.rows() == [(user, f"00{item}", 4.5, time) for user, item, time in SALES]
    assert counts["interactions"]["dropped"] == {"no user": 0, "no item": 1, "no timestamp": 1}
    assert items["title"].to_list() == ["Great Escape", "Toy Story", "", "Heat"]
    assert items["categories"].to_list() == [["War", "Drama"], ["Children's"], [], ["Drama"]]
    assert items["text"][1] == "Toy Story. Children's."


def test_recbole_refuses_other_headings_and_rows(tmp_path: Path) -> None:
    with pytest.raises(
        DecorecError, match=r"shop\.inter, line 1, column 'user_id:float': expected ids of the type token"
    ):
        ingested(tmp_path, recbole(tmp_path, RATED, FILMS, "user_id:float"))
    with pytest.raises(
        DecorecError, match=r"shop\.inter, line 1: expected names with a type.*found 'user_id'; the types"
    ):
        ingested(tmp_path, recbole(tmp_path, RATED, FILMS, "user_id"))
    section = recbole(tmp_path, [*RATED, "u0\t000\t1\t5\tmore"], FILMS)
    with pytest.raises(
        DecorecError, match=r"shop\.inter, line 18: expected 4 fields as in the header, found 5; take the"
    ):
        ingested(tmp_path, section)
    for columns in ({"title": "movie_title"}, {"title": "movie_title", "category": "class"}):
        section = recbole(tmp_path, RATED, [FILMS[0].replace(" Escape", "\tEscape"), *FILMS[1:]])
        with pytest.raises(
            DecorecError, match=r"shop\.item, line 2: expected 4 fields as in the header, found 5; take"
        ):
            ingested(tmp_path, section | {"item_columns": columns})
    section = recbole(tmp_path, RATED, FILMS) | {"item_columns": {"title": "name"}}
    with pytest.raises(
        DecorecError, match=r"shop\.item: expected the columns item_id, name, found .*add or rename name, .*{title: "
    ):
        ingested(tmp_path, section)
