"""Ingest of shops' files: what is kept, in which order, and every loss by its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from decorec.acquire.ingest import ingest
from decorec.acquire.sources import catalogue
from decorec.config.datasets import AmazonDataset, AtomicDataset
from decorec.config.prepare import FilterConfig
from decorec.errors import DecorecError
from tests.support.category import DAY, Record, metadata, reviews, write

CASES = Path(__file__).parents[3] / "shared" / "cases"
GIFT_CARDS = Path("data/amazon2018_gift_cards")


def run(
    folder: Path,
    rows: list[Any],
    meta: list[Any],
    source: str = "amazon2018",
    kcore: int = 5,
    duplicates: str = "exact",
    threads: int = 1,
    **keys: float,
) -> tuple[pl.DataFrame, pl.DataFrame, Any]:
    """Interactions, items and counts."""
    outputs = {name: folder / name for name in ("interactions", "catalogue", "counts")}
    ingest(
        dataset=AmazonDataset.model_validate({"source": source, "category": "Things", **keys}),
        filter=FilterConfig.model_validate({"kcore": kcore, "duplicates": duplicates}),
        reviews=write(folder / "reviews.gz", rows),
        meta=write(folder / "meta.gz", meta),
        threads=threads,
        **outputs,
    )
    tables = (pl.read_parquet(outputs[name]) for name in ("interactions", "catalogue"))
    return (*tables, json.loads(outputs["counts"].read_text()))  # type: ignore[return-value]


def test_a_clean_category_comes_through_whole(tmp_path: Path) -> None:
    interactions, items, counts = run(tmp_path, reviews(), metadata())
    assert interactions.schema == {"user": pl.String, "item": pl.String, "rating": pl.Float32, "timestamp": pl.Int64}
    expected = [(row["reviewerID"], row["asin"], 5.0, row["unixReviewTime"]) for row in reviews()]
    assert interactions.rows() == expected
    assert items["item"].to_list() == [f"B{n}" for n in range(6)]
    assert items.row(0, named=True) == {
        "item": "B0",
        "title": "Thing 0",
        "brand": "Acme",
        "categories": ["Tools", "Things"],
        "description": "A thing. Useful.",
        "text": "Thing 0. Tools Things. Acme.",
        "image_urls": ["http://shop.example/0.jpg", "http://shop.example/0._SX38_.jpg"],
    }
    assert counts["kept"] == {"users": 6, "items": 6, "interactions": 36}
    assert not counts["items"]["repaired"] and not any(counts["interactions"]["dropped"].values())


def test_items_stand_in_order_of_first_appearance(tmp_path: Path) -> None:
    _, items, _ = run(tmp_path, reviews()[::-1], metadata())
    assert items["item"].to_list() == ["B4", "B3", "B2", "B1", "B0", "B5"]


def test_every_loss_has_its_reason(tmp_path: Path) -> None:
    rows: list[Record | bytes] = [*reviews(), *reviews()[:3]]
    rows += [
        b'{"overall": 5.0, "rev',
        {"asin": "B1", "unixReviewTime": DAY},
        {"reviewerID": "U1", "unixReviewTime": DAY},
        {"reviewerID": "U1", "asin": "B1"},
        {"reviewerID": "  ", "asin": "B1", "unixReviewTime": DAY},
        {"reviewerID": "U1", "asin": "UNKNOWN", "unixReviewTime": DAY},
        {"reviewerID": "LONER", "asin": "B1", "unixReviewTime": DAY},
    ]
    meta = [*metadata(), b"{", {"title": "no id"}, {"asin": "B1", "title": "second record"}, {"asin": "B77"}]
    interactions, items, counts = run(tmp_path, rows, meta)
    assert len(interactions) == 36
    assert counts["interactions"]["lines"] == 46 and counts["interactions"]["records"] == 45
    assert counts["interactions"]["dropped"] == {
        "not JSON": 1,
        "line too long": 0,
        "no user": 2,
        "no item": 1,
        "no timestamp": 1,
    }
    assert counts["items"]["dropped"] == {"not JSON": 1, "line too long": 0, "no item": 1, "repeated item": 1}
    assert items.filter(item="B1")["title"].item() == "Thing 1"
    steps = {step["step"]: step["dropped"] for step in counts["filter"]}
    assert steps == {
        "duplicates": {"duplicate (exact)": 3},
        "metadata": {"item without metadata": 1},
        "5-core, pass 1": {"user below 5": 1, "item below 5": 0},
    }


def test_pairs_keep_the_earliest_review(tmp_path: Path) -> None:
    later = reviews()[0] | {"unixReviewTime": DAY + 86_400 * 50}
    rows = [later, *reviews()]
    exact, _, _ = run(tmp_path, rows, metadata())
    assert len(exact) == 37
    pairs, _, counts = run(tmp_path, rows, metadata(), duplicates="pair")
    assert pairs.rows() == exact.rows()[1:]
    assert counts["filter"][0]["dropped"] == {"duplicate (pair)": 1}


def test_mixed_types_and_a_date_in_place_of_a_time_are_repaired(tmp_path: Path) -> None:
    rows = reviews()
    rows[0] = rows[0] | {"overall": "4", "unixReviewTime": str(rows[0]["unixReviewTime"])}
    del rows[1]["unixReviewTime"], rows[1]["overall"]
    rows[1]["reviewTime"] = "7 4, 2017"
    interactions, _, counts = run(tmp_path, rows, metadata())
    assert interactions.row(0) == ("U0", "B0", 4.0, DAY)
    assert interactions.row(1) == ("U0", "B1", None, 1_499_126_400)
    assert counts["interactions"]["repaired"] == {"time from date": 1}


def test_dirty_metadata(tmp_path: Path) -> None:
    meta = metadata()
    meta[0] |= {"title": ["<b>Thing</b>", "&quot;zero&quot;"], "brand": "", "category": "Tools"}
    meta[1] |= {"title": ".a{margin:0} #b{color:red}" * 90, "description": "One &amp; only"}
    del meta[2]["title"], meta[2]["brand"], meta[2]["description"]
    meta[3] |= {"category": [["Tools", "Things"], ["More"]], "imageURLHighRes": "http://shop.example/only.jpg"}
    meta[4] |= {"category": ["Tools", "</span></span>"], "title": None}
    meta[5] |= {"description": "[" * 5_000}
    _, items, counts = run(tmp_path, reviews(), meta)
    texts = dict(zip(items["item"], items["text"], strict=True))
    assert texts["B0"] == "Thing zero. Tools. ."
    assert texts["B1"] == "Tools Things. Acme."
    assert texts["B2"] == "Tools Things."
    assert texts["B3"] == "Thing 3. Tools Things More. Acme."
    assert texts["B4"] == "Tools. Acme."
    assert items["title"][1] == "" and items["description"][1] == "One & only" and items["description"][2] == ""
    assert items["description"][5] == "[" * 5_000, "text, since nobody can have meant lists in lists so deep"
    assert items["image_urls"][3].to_list() == ["http://shop.example/only.jpg", "http://shop.example/3._SX38_.jpg"]
    assert counts["items"]["repaired"] == {
        "brand: absent": 1,
        "category: markup removed": 1,
        "category: string in place of a list": 1,
        "description: absent": 1,
        "description: string in place of a list": 2,
        "title: absent": 2,
        "title: code dropped": 1,
        "title: list joined": 1,
        "title: markup removed": 1,
    }


def test_2023(tmp_path: Path) -> None:
    rows = [
        {
            "rating": row["overall"],
            "title": "Fine",
            "images": [],
            "asin": "VARIANT",
            "parent_asin": row["asin"],
            "user_id": row["reviewerID"],
            "timestamp": row["unixReviewTime"] * 1000 + 999,
        }
        for row in reviews()
    ]
    pictures = [
        {"thumb": "t2", "large": "l2", "variant": "PT01", "hi_res": None},
        {"thumb": "t1", "large": "l1", "variant": "MAIN", "hi_res": "h1"},
    ]
    meta: list[Record] = [
        {"parent_asin": row["asin"], "title": row["title"], "store": "Acme", "categories": [], "images": pictures}
        for row in metadata()
    ]
    meta[1]["images"] = {"hi_res": ["h1", None], "large": ["l1", "l2"], "thumb": ["t1", "t2"], "variant": ["MAIN", "B"]}
    meta[2] |= {"images": [], "store": None}
    interactions, items, _ = run(tmp_path, rows, meta, source="amazon2023")
    assert interactions.row(0) == ("U0", "B0", 5.0, DAY)
    assert items["image_urls"].to_list()[:3] == [["l1", "l2", "h1", "t1", "t2"], ["l1", "l2", "h1", "t1", "t2"], []]
    assert items["brand"].to_list()[:3] == ["Acme", "Acme", ""]
    assert items["text"].to_list()[:3] == ["Thing 0. . Acme.", "Thing 1. . Acme.", "Thing 2. ."]


def test_2023_orders_by_the_millisecond(tmp_path: Path) -> None:
    rows = [
        {"rating": 5.0, "parent_asin": f"B{item}", "user_id": f"U{user}", "timestamp": DAY * 1000 + 5 - item}
        for user in range(5)
        for item in range(5)
    ]
    meta: list[Record] = [{"parent_asin": f"B{item}", "title": "Thing"} for item in range(5)]
    interactions, _, _ = run(tmp_path, rows, meta, source="amazon2023")
    assert interactions["timestamp"].unique().to_list() == [DAY]
    for user in range(5):
        own = interactions.filter(pl.col("user") == f"U{user}")
        assert own["item"].to_list() == ["B4", "B3", "B2", "B1", "B0"]


def test_the_old_link_field(tmp_path: Path) -> None:
    meta = metadata()
    del meta[0]["imageURL"], meta[0]["imageURLHighRes"]
    meta[0]["imUrl"] = "http://shop.example/old.jpg"
    _, items, _ = run(tmp_path, reviews(), meta)
    assert items["image_urls"][0].to_list() == ["http://shop.example/old.jpg"]


def test_equal_bytes_from_equal_input(tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        run(tmp_path, [*reviews(40, 30), b"{"], metadata(30))
        written.append([(tmp_path / name).read_bytes() for name in ("interactions", "catalogue", "counts")])
    assert written[0] == written[1]


def test_processes_give_the_bytes_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = metadata(30)
    meta[3] |= {"title": "<b>Thing</b> &amp; more", "category": []}
    del meta[20]["title"]
    written = []
    for threads in (1, 2):
        run(tmp_path, reviews(40, 30), meta, threads=threads)
        written.append([(tmp_path / name).read_bytes() for name in ("interactions", "catalogue", "counts")])
        monkeypatch.setattr(catalogue, "PART", 7)
    assert written[0] == written[1]


def refused(folder: Path, match: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(DecorecError, match=match):
        run(folder, *arguments, **options)
    assert not [file for file in folder.iterdir() if file.name not in ("reviews.gz", "meta.gz")]


def test_interactions_without_any_metadata(tmp_path: Path) -> None:
    other = [row | {"asin": f"X{number}"} for number, row in enumerate(metadata())]
    refused(tmp_path, r"meta\.gz: expected metadata of the 6 items.*'B0'.*found 6 other items", reviews(), other)


def test_more_lost_lines_than_the_share_that_is_allowed(tmp_path: Path) -> None:
    # 5 of 50 lines are a tenth, 6 of 51 are more.
    lines: list[Record | bytes] = [*reviews(9, 5), *[b'{"overall": 5.0, "rev'] * 5]
    _, _, counts = run(tmp_path, lines, metadata())
    assert counts["interactions"]["dropped"]["not JSON"] == 5
    lines.insert(2, b"{'reviewerID': 'U1'}")
    shown = r"not JSON: 6 of 51, such as line 3: \{'reviewerID': 'U1'\}; line 47: .*; line 48: .*\.unreadable: 0\.12"
    with pytest.raises(DecorecError, match=rf"reviews\.gz: .*{shown}"):
        run(tmp_path, lines, metadata())
    _, _, counts = run(tmp_path, lines, metadata(), unreadable=0.12)
    assert counts["interactions"]["dropped"]["not JSON"] == 6 and counts["kept"]["interactions"] == 45


def test_more_records_without_ids_than_the_share_that_is_allowed(tmp_path: Path) -> None:
    nameless: list[Record] = [{"title": f"no id {number}"} for number in range(4)]
    shown = r"no item: 4 of 10, such as record 7: title 'no id 0'; record 8: title 'no id 1'; record 9: "
    with pytest.raises(DecorecError, match=rf"meta\.gz: .*{shown}.*\.unreadable: 0\.4$"):
        run(tmp_path, reviews(), [*metadata(), *nameless])
    _, _, counts = run(tmp_path, reviews(), [*metadata(), *nameless[:3]])
    assert counts["items"]["dropped"]["no item"] == 3, "few are lost in any case"


def test_losses_on_purpose_are_no_losses(tmp_path: Path) -> None:
    again = [*metadata(), *metadata()]
    unknown = [row | {"asin": f"{row['asin']}-unknown"} for row in reviews()]
    _, _, counts = run(tmp_path, [*reviews(), *reviews(), *unknown], again)
    assert counts["items"]["dropped"]["repeated item"] == 6
    assert [step["dropped"] for step in counts["filter"][:2]] == [
        {"duplicate (exact)": 36},
        {"item without metadata": 36},
    ]


def test_metadata_of_2014(tmp_path: Path) -> None:
    folder = CASES / "amazon2014-python-literal-meta"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    advice = r"not JSON: 8 of 8, such as line 1: \{'asin': 'i00'.*json\.dumps\(ast\.literal_eval\(line\)\)"
    with pytest.raises(DecorecError, match=rf"meta\.json\.gz: .*{advice}"):
        ingest(
            dataset=AmazonDataset(source="amazon2018", category="Things"),
            filter=FilterConfig(kcore=3),
            reviews=folder / "reviews.json.gz",
            meta=folder / "meta.json.gz",
            **{name: tmp_path / name for name in ("interactions", "catalogue", "counts")},
        )


def test_an_empty_core_tells_what_each_filter_left(tmp_path: Path) -> None:
    refused(
        tmp_path,
        r"at least 7 interactions each, found none.*duplicates: 6 users, 6 items, 36 interactions;.*lower filter",
        reviews(),
        metadata(),
        kcore=7,
    )


def test_reviews_without_the_fields(tmp_path: Path) -> None:
    refused(
        tmp_path,
        r"reviews\.gz: expected reviews with reviewerID, asin and unixReviewTime, found none \(no user: 6\)",
        metadata(),
        metadata(),
    )


def test_no_records_at_all(tmp_path: Path) -> None:
    refused(tmp_path, r"reviews\.gz: expected reviews with .*, found none \(not JSON: 2\)", [b"x", b"y"], metadata())
    refused(tmp_path, r"reviews\.gz: expected", [], metadata())


def test_a_cut_archive_is_one_message(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.gz", reviews()).read_bytes()
    meta = write(tmp_path / "meta.gz", metadata())
    outputs = {name: tmp_path / name for name in ("interactions", "catalogue", "counts")}
    for length in (2, 9, 12, 60, len(whole) - 4):
        (tmp_path / "cut.gz").write_bytes(whole[:length])
        with pytest.raises(DecorecError, match=r"cut\.gz: expected reviews with"):
            ingest(
                dataset=AmazonDataset(source="amazon2018", category="Things"),
                filter=FilterConfig(),
                reviews=tmp_path / "cut.gz",
                meta=meta,
                **outputs,
            )


def test_a_source_without_files() -> None:
    atomic = AtomicDataset(source="atomic", path="nowhere", name="D")
    with pytest.raises(DecorecError, match="found the source 'atomic'; atomic data sets go"):
        ingest(dataset=atomic, filter=FilterConfig(), interactions=Path("i"), catalogue=Path("t"), counts=Path("c"))


@pytest.mark.skipif(not GIFT_CARDS.exists(), reason="real data not at data/amazon2018_gift_cards")
def test_gift_cards_come_through_whole(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("interactions", "catalogue", "counts")}
    ingest(
        dataset=AmazonDataset(source="amazon2018", category="Gift_Cards"),
        filter=FilterConfig(duplicates="pair"),
        reviews=GIFT_CARDS / "Gift_Cards_5.json.gz",
        meta=GIFT_CARDS / "meta_Gift_Cards.json.gz",
        **files,
    )
    counts = json.loads(files["counts"].read_text())
    found = counts["interactions"]
    assert (found["records"], found["users"], found["items"]) == (2_972, 458, 148)
    assert counts["items"]["records"] == counts["items"]["items"] == 1_547
    assert counts["kept"] == {"users": 453, "items": 147, "interactions": 2_941}
    items = pl.read_parquet(files["catalogue"])
    assert len(items) == 147 and (items["text"] != "").all()
    assert items.filter(pl.col("title").str.contains('[<>"]|&amp;|&quot;')).is_empty()
