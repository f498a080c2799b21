"""The user's own tables: csv and parquet, and what is said when they are wrong."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pytest

from decorec.acquire import csv_files, gzip_files
from decorec.acquire.ingest import ingest
from decorec.acquire.sources.table import opened
from decorec.config.datasets import TableDataset
from decorec.config.prepare import FilterConfig
from decorec.errors import DecorecError

HM = Path("data/hm")
OUTPUTS = ("interactions", "catalogue", "counts")


def frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Four users who have all bought the four items."""
    rows = [(f"u{user}", f"00{item}", 86_400 * item + user) for user in range(4) for item in range(4)]
    items = {
        "item": [f"00{item}" for item in range(4)],
        "title": ["Top", "Skirt &amp; belt", "Hat", ""],
        "brand": ["", "Acme", "", ""],
        "category": ["Wear > Tops", "Wear > Skirts", "", ""],
        "description": ["<p>A top.</p>", "", "A hat", ""],
        "image": ["images/0.jpg", "https://shop.example/1.jpg", "", "/pictures/3.jpg"],
    }
    return pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row"), pl.DataFrame(items)


def run(folder: Path, interactions: str = "interactions.csv", items: str = "items.csv") -> dict[str, Path]:
    outputs = {name: folder / "out" / name for name in OUTPUTS}
    dataset = TableDataset(source="table", path=str(folder), interactions=interactions, items=items)
    ingest(dataset=dataset, filter=FilterConfig(kcore=3), **outputs)
    return outputs


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["shop*", "shop?", "shop[12]"])
def test_a_folder_whose_name_is_a_pattern_is_that_folder_alone(tmp_path: Path, name: str, ending: str) -> None:
    found = {}
    for folder, users in ((tmp_path / name, "u"), (tmp_path / "shop1", "other")):
        folder.mkdir()
        interactions, items = frames()
        interactions = interactions.with_columns(pl.lit(users) + pl.col("user").str.slice(1).alias("user"))
        for table, frame in (("interactions", interactions), ("items", items)):
            getattr(frame, f"write_{ending}")(folder / f"{table}.{ending}")
        found[folder.name] = run(folder, f"interactions.{ending}", f"items.{ending}")
    read = pl.read_parquet(found[name]["interactions"], glob=False)
    assert len(read) == 16 and read["user"].str.starts_with("u").all()


def test_many_files_give_the_bytes_of_one(tmp_path: Path) -> None:
    interactions, items = frames()
    items.write_csv(tmp_path / "items.csv")
    interactions.write_parquet(tmp_path / "one.parquet")
    (tmp_path / "many").mkdir()
    for number, row in enumerate(interactions.iter_slices(3)):
        row.write_parquet(tmp_path / "many" / f"part-{number}.parquet")
    one, many = ([path.read_bytes() for path in run(tmp_path, name).values()] for name in ("one.parquet", "many"))
    assert one == many


def write(path: Path, frame: pl.DataFrame) -> None:
    """By the name of the file."""
    content = frame.write_csv(separator="\t" if ".tsv" in path.name.lower() else ",").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("ending", ["tsv", "TSV", "tsv.gz", "csv.gz"])
def test_tabs_and_packed_files_give_the_bytes_of_a_csv_file(tmp_path: Path, ending: str) -> None:
    interactions, items = frames()
    items = items.with_columns(description=pl.lit('Wide, "blue"\tand\nlong'))
    for name in ("csv", ending):
        write(tmp_path / f"interactions.{name}", interactions)
        write(tmp_path / f"items.{name}", items)
    one, other = (
        [path.read_bytes() for path in run(tmp_path, f"interactions.{name}", f"items.{name}").values()]
        for name in ("csv", ending)
    )
    assert one == other


def test_the_first_bytes_say_whether_a_file_is_packed_and_not_its_name(tmp_path: Path) -> None:
    interactions, items = frames()
    for name, frame in (("interactions", interactions), ("items", items)):
        write(tmp_path / f"{name}.csv", frame)
        (tmp_path / f"{name}.csv.gz").write_bytes((tmp_path / f"{name}.csv").read_bytes())
        (tmp_path / f"{name}-packed.csv").write_bytes(gzip.compress((tmp_path / f"{name}.csv").read_bytes()))
    one, named, packed = (
        [path.read_bytes() for path in run(tmp_path, f"interactions{ending}", f"items{ending}").values()]
        for ending in (".csv", ".csv.gz", "-packed.csv")
    )
    assert one == named == packed


@pytest.mark.parametrize("quoted", [False, True])
def test_a_packed_file_is_unpacked_once_for_its_checks(
    quoted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: Counter[str] = Counter()

    def counted(path: Path) -> AbstractContextManager[BinaryIO]:
        looks[path.name] += 1
        return gzip_files.unpacked(path)

    monkeypatch.setattr(csv_files, "unpacked", counted)
    names = ["interactions.csv.gz", "items.csv.gz"]
    for name, frame in zip(names, frames(), strict=True):
        text = frame.write_csv(quote_style="always" if quoted else "never")
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    run(tmp_path, *names)
    begun = 1 + quoted  # to look for a quote ends at the first one
    assert looks == {names[0]: 1 + begun, names[1]: 2}, "at the beginning of each, and whole"


def with_another_checksum(packed: bytes) -> bytes:
    return packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]


def test_words_on_two_lines_of_a_field_stay_two_words(tmp_path: Path) -> None:
    interactions, items = frames()
    items = items.with_columns(title=pl.lit("Wide\nhat"), description=pl.lit("In blue\r\nand red"))
    write(tmp_path / "interactions.csv", interactions)
    write(tmp_path / "items.csv", items)
    found = pl.read_parquet(run(tmp_path, "interactions.csv", "items.csv")["catalogue"])
    assert found.select("title", "description").row(0) == ("Wide hat", "In blue and red")
    assert "Wide hat." in found["text"][0] and "In blue and red." in found["text"][0]


HEADER = "user\titem\ttimestamp"
# With mtime=0, since the bytes are in the names of the tests, which have to be the same in all processes of a run.
NO_TSV = [
    ("tsv", b"user,item,timestamp\nu1,1,5\n", r"line 1: expected names with tabs between them, found commas: .*\.csv$"),
    ("csv", f"{HEADER}\nu1\t1\t5\n".encode(), r"line 1: expected names with commas .* found tabs: .*\.tsv$"),
    ("tsv", f"{HEADER}\nu1\t1\t5\t6\n".encode(), r"line 2: expected 3 .*found 4; put fields that hold a tab in"),
    ("tsv", f'{HEADER}\n"u1" x\t1\t5\n'.encode(), r"line 2: expected a tab or the end of the line after a closing"),
    ("tsv", f'{HEADER}\nu\t5" a\t5\nu\t1\t5\nu\t6" b\t5\n'.encode(), r"a quote stands alone in line 2"),
    ("tsv.gz", gzip.compress(f"{HEADER}\nu1\t1\t5\n".encode(), mtime=0)[:-9], "found a file that cannot be read"),
    (
        "tsv.gz",
        with_another_checksum(gzip.compress(f"{HEADER}\nu1\t1\t5\n".encode(), mtime=0)),
        "found a file that cannot be read",
    ),
    ("tsv.gz", gzip.compress(b"PK\x03\x04" + bytes(99), mtime=0), "found a zip archive or a spreadsheet"),
]


@pytest.mark.parametrize(("ending", "content", "message"), NO_TSV)
def test_a_file_that_is_no_such_tsv(ending: str, content: bytes, message: str, tmp_path: Path) -> None:
    write(tmp_path / "items.csv", frames()[1])
    (tmp_path / f"interactions.{ending}").write_bytes(content)
    refused(tmp_path, rf"interactions\.{ending}.*{message}", f"interactions.{ending}")


def test_csv(tmp_path: Path) -> None:
    interactions, items = frames()
    interactions.write_csv(tmp_path / "interactions.csv")
    items.write_csv(tmp_path / "items.csv")
    outputs = run(tmp_path)
    found = pl.read_parquet(outputs["interactions"])
    assert found.drop("rating").rows() == interactions.rows()
    assert found["rating"].null_count() == 16
    table = pl.read_parquet(outputs["catalogue"])
    assert table["text"].to_list() == [
        "Top. Wear > Tops. A top.",
        "Skirt & belt. Wear > Skirts. Acme.",
        "Hat. A hat.",
        "",
    ]
    assert table["categories"].to_list() == [["Wear", "Tops"], ["Wear", "Skirts"], [], []]
    assert table["image_urls"].to_list() == [["images/0.jpg"], ["https://shop.example/1.jpg"], [], ["/pictures/3.jpg"]]


def test_a_table_of_items_may_hold_ids_alone(tmp_path: Path) -> None:
    interactions, items = frames()
    interactions.write_csv(tmp_path / "interactions.csv")
    items.select("item").write_csv(tmp_path / "items.csv")
    catalogue = pl.read_parquet(run(tmp_path)["catalogue"])
    assert sorted(catalogue["item"]) == [f"00{item}" for item in range(4)]
    assert set(catalogue["text"]) == {""} and set(catalogue["image_urls"].list.len()) == {0}


def test_parquet_gives_the_same_tables(tmp_path: Path) -> None:
    interactions, items = frames()
    interactions.write_csv(tmp_path / "interactions.csv")
    items.write_csv(tmp_path / "items.csv")
    outputs = run(tmp_path)
    expected = [outputs[name].read_bytes() for name in OUTPUTS]
    times = interactions.with_columns(pl.from_epoch("timestamp"))
    times.write_parquet(tmp_path / "interactions.parquet")
    items.with_columns(pl.col("category").str.split(" > ").list.eval(pl.element().filter(pl.element() != "")))
    items.write_parquet(tmp_path / "items.parquet")
    outputs = run(tmp_path, "interactions.parquet", "items.parquet")
    assert [outputs[name].read_bytes() for name in OUTPUTS] == expected


def test_numbers_dates_lists_and_ratings_of_parquet(tmp_path: Path) -> None:
    interactions, items = frames()
    days = [date(2020, 1, 1 + row) for row in range(16)]
    interactions = interactions.with_columns(
        pl.col("item").cast(pl.Int64), timestamp=pl.Series(days), rating=pl.lit(3.5), note=pl.lit("kept out")
    )
    interactions.write_parquet(tmp_path / "interactions.parquet")
    items = items.select(pl.col("item").cast(pl.Int64), "title", image=pl.Series([["a.jpg", "b.jpg"], [], None, ["c"]]))
    items.write_parquet(tmp_path / "items.parquet")
    outputs = run(tmp_path, "interactions.parquet", "items.parquet")
    found = pl.read_parquet(outputs["interactions"])
    assert found.columns == ["user", "item", "rating", "timestamp"]
    assert found.row(15) == ("u3", "3", 3.5, int(datetime(2020, 1, 16, tzinfo=UTC).timestamp()))
    assert pl.read_parquet(outputs["catalogue"])["image_urls"].to_list() == [["a.jpg", "b.jpg"], [], [], ["c"]]


def test_rows_without_an_id_or_a_time_are_counted(tmp_path: Path) -> None:
    interactions, items = frames()
    dirty = pl.DataFrame(
        [["", "000", "5"], ["u1", "", "5"], ["u1", "000", "NaN"], ["NULL", "000", "5"], ["u1", "999", "5.0"]],
        schema=interactions.columns,
        orient="row",
    )
    pl.concat([interactions.cast(pl.String), dirty]).write_csv(tmp_path / "interactions.csv")
    pl.concat(
        [items, items[:1].with_columns(title=pl.lit("other")), items[:1].with_columns(item=pl.lit(""))]
    ).write_csv(tmp_path / "items.csv")
    outputs = run(tmp_path)
    counts = json.loads(outputs["counts"].read_text())
    assert counts["interactions"]["dropped"] == {"no user": 2, "no item": 1, "no timestamp": 1}
    assert counts["items"]["dropped"] == {"no item": 1, "repeated item": 1}
    assert counts["filter"][1]["dropped"] == {"item without metadata": 1}
    assert counts["kept"] == {"users": 4, "items": 4, "interactions": 16}
    assert pl.read_parquet(outputs["catalogue"])["title"][0] == "Top"


def test_blanks_around_ids_do_not_count(tmp_path: Path) -> None:
    interactions, items = frames()
    items.write_csv(tmp_path / "items.csv")
    interactions.write_csv(tmp_path / "interactions.csv")
    expected = pl.read_parquet(run(tmp_path)["interactions"])
    blank = interactions[:1].with_columns(user=pl.lit(" \t"))
    dirty = [interactions[:3], interactions[3:].with_columns(user=" " + pl.col("user"), item=pl.col("item") + " ")]
    pl.concat([blank, *dirty]).write_parquet(tmp_path / "interactions.parquet")
    outputs = run(tmp_path, "interactions.parquet")
    assert pl.read_parquet(outputs["interactions"]).equals(expected)
    counts = json.loads(outputs["counts"].read_text())
    assert counts["interactions"] == {
        "records": 17,
        "users": 4,
        "items": 4,
        "dropped": {"no user": 1, "no item": 0, "no timestamp": 0},
        "repaired": {},
    }


def test_names_of_pictures_each_once(tmp_path: Path) -> None:
    _, items = frames()
    again = items.with_columns(item="1" + pl.col("item"))
    pl.concat([items, again]).write_csv(tmp_path / "items.csv")
    expected = ["/pictures/3.jpg", "https://shop.example/1.jpg", "images/0.jpg"]
    dataset = TableDataset(source="table", path=str(tmp_path))
    assert sorted(opened(dataset).picture_names()) == expected, "an empty name is none"
    lists = pl.Series([["images/0.jpg", "", None], [], None, ["images/0.jpg", "/pictures/3.jpg"]])
    items.with_columns(image=lists).write_parquet(tmp_path / "items.parquet")
    dataset = TableDataset(source="table", path=str(tmp_path), items="items.parquet")
    assert sorted(opened(dataset).picture_names()) == ["/pictures/3.jpg", "images/0.jpg"]


def test_a_table_without_pictures_has_no_names(tmp_path: Path) -> None:
    _, items = frames()
    items.drop("image").write_csv(tmp_path / "items.csv")
    assert opened(TableDataset(source="table", path=str(tmp_path))).picture_names() == []


def test_names_of_pictures_of_an_unreadable_table(tmp_path: Path) -> None:
    dataset = TableDataset(source="table", path=str(tmp_path))
    with pytest.raises(DecorecError, match=r"items\.csv: expected a table of items, found no such file"):
        opened(dataset).picture_names()
    (tmp_path / "items.csv").write_bytes(b"")
    with pytest.raises(DecorecError, match=r"items\.csv: expected a table of items, found a file that cannot be read"):
        opened(dataset).picture_names()


def refused(folder: Path, match: str, interactions: str = "interactions.csv") -> None:
    with pytest.raises(DecorecError, match=match):
        run(folder, interactions)
    assert not (folder / "out").exists()


def test_a_missing_column(tmp_path: Path) -> None:
    interactions, items = frames()
    interactions.rename({"timestamp": "time"}).write_csv(tmp_path / "interactions.csv")
    items.write_csv(tmp_path / "items.csv")
    refused(
        tmp_path,
        r"interactions\.csv: expected the columns user, item, timestamp, found user, item, time; add or rename "
        r"timestamp, or say what they are called there: datasets\.<name>\.columns: \{timestamp: \.\.\.\}",
    )
    interactions.write_csv(tmp_path / "interactions.csv")
    items.rename({"item": "id"}).write_csv(tmp_path / "items.csv")
    refused(tmp_path, r"items\.csv: expected the columns item, found id, title")


def test_unreadable_files(tmp_path: Path) -> None:
    _, items = frames()
    items.write_csv(tmp_path / "items.csv")
    refused(tmp_path, r"interactions\.csv: expected a table of interactions, found no such file")
    (tmp_path / "interactions.csv").write_bytes(b"")
    refused(tmp_path, r"interactions\.csv: expected a table of interactions, found a file that cannot be read")
    (tmp_path / "interactions.csv").write_bytes(b"user,item,timestamp\nu1,\xff\xfe,5\n")
    refused(tmp_path, r"interactions\.csv, line 2: expected UTF-8 text, found b'u1,")
    (tmp_path / "interactions.parquet").write_bytes(b"user,item,timestamp\n")
    refused(
        tmp_path,
        r"interactions\.parquet: expected a table of interactions, found a file that cannot be read",
        "interactions.parquet",
    )
    (tmp_path / "interactions.xlsx").write_bytes(b"PK")
    refused(tmp_path, r"expected a name ending in \.csv, \.tsv .* or \.parquet, found '\.xlsx'", "interactions.xlsx")
    (tmp_path / "baby.inter").write_text("userID\titemID\n")
    refused(tmp_path, r"found '\.inter'; convert the file; files of RecBole are the source recbole", "baby.inter")


def test_items_that_are_not_in_the_table(tmp_path: Path) -> None:
    interactions, items = frames()
    interactions.write_csv(tmp_path / "interactions.csv")
    items.with_columns(item="x" + pl.col("item")).write_csv(tmp_path / "items.csv")
    refused(tmp_path, r"items\.csv: expected metadata of the 4 items with interactions \(such as '000'\)")


def test_the_command_prints_one_message_and_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "decorec", "ingest", "--filter", "{}"]
    command += ["--dataset", json.dumps({"source": "table", "path": str(tmp_path)})]
    command += [part for name in OUTPUTS for part in (f"--{name}", str(tmp_path / "out" / name))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert done.stderr.startswith("decorec ingest: ") and done.stderr.count("\n") == 1
    assert f"{tmp_path}/interactions.csv: expected a table of interactions, found no such file" in done.stderr


@pytest.mark.skipif(not HM.exists(), reason="real data not at data/hm")
def test_fashion_sales_without_repeated_pairs(tmp_path: Path) -> None:
    outputs = {name: tmp_path / name for name in OUTPUTS}
    dataset = TableDataset(source="table", path=str(HM))
    ingest(dataset=dataset, filter=FilterConfig(duplicates="pair"), **outputs)
    counts = json.loads(outputs["counts"].read_text())
    assert counts["interactions"]["records"] == 31_662
    assert counts["kept"] == {"users": 564, "items": 942, "interactions": 8_616}
    items = pl.read_parquet(outputs["catalogue"])
    assert (items["image_urls"].list.len() == 1).all() and (items["text"] != "").all()
