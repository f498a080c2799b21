"""Tables as spreadsheets, databases and loggers write them: read rightly, or refused with the place and the cause."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from decorec.acquire.crawl.local import read_picture
from decorec.acquire.crawl.outcome import PictureError
from decorec.acquire.ingest import ingest
from decorec.config.datasets import TableDataset
from decorec.config.prepare import FilterConfig
from decorec.errors import DecorecError

CASES = Path(__file__).parents[4] / "shared" / "cases"
START = 1_600_000_000
ROWS = [(f"u{user}", f"i{item}", START + 60 * (4 * user + item)) for user in range(4) for item in range(4)]
ITEMS = pl.DataFrame({"item": [f"i{item}" for item in range(4)], "title": "A hat"})


def interactions(times: list[Any] | None = None) -> pl.DataFrame:
    frame = pl.DataFrame(ROWS, schema=["user", "item", "timestamp"], orient="row")
    return frame if times is None else frame.with_columns(timestamp=pl.Series(times))


def read(
    folder: Path, sales: pl.DataFrame | str | bytes, items: pl.DataFrame = ITEMS, ending: str = "csv", **keys: float
) -> Any:
    """Interactions that are kept, as rows of user, item and seconds; and the counts."""
    path = folder / "interactions.csv"
    if isinstance(sales, pl.DataFrame):
        sales.write_csv(path)
    else:
        path.write_bytes(sales if isinstance(sales, bytes) else sales.encode())
    getattr(items, f"write_{ending}")(folder / f"items.{ending}")
    return read_folder(folder, f"items.{ending}", folder / "out", **keys)


def read_folder(
    folder: Path, items: str, out: Path, **keys: float | str
) -> tuple[list[tuple[str, str, int]], dict[str, Any]]:
    outputs = {name: out / name for name in ("interactions", "catalogue", "counts")}
    dataset = TableDataset.model_validate({"source": "table", "path": str(folder), "items": items, **keys})
    ingest(dataset=dataset, filter=FilterConfig(kcore=3), **outputs)
    counts: dict[str, Any] = json.loads(outputs["counts"].read_text())
    return pl.read_parquet(outputs["interactions"]).select("user", "item", "timestamp").rows(), counts


def text(rows: list[tuple[Any, ...]], header: str = "user,item,timestamp") -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.000000+00:00"])
def test_dates_are_the_seconds_that_they_name(tmp_path: Path, form: str) -> None:
    times = [datetime.fromtimestamp(row[2], UTC).strftime(form) for row in ROWS]
    assert read(tmp_path, interactions(times))[0] == ROWS


def test_dates_seconds_and_blanks_in_one_column(tmp_path: Path) -> None:
    times = [str(row[2]) for row in ROWS]
    times[1] = f" {times[1]} "
    times[2] = f"{ROWS[2][2]}.000"
    times[3] = (datetime.fromtimestamp(ROWS[3][2], UTC) + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S+02:00")
    times[4] = f"{ROWS[4][2]:.9e}"
    times[5] = (datetime.fromtimestamp(ROWS[5][2], UTC) - timedelta(hours=5)).strftime("%Y-%m-%d %H:%M:%S.0-05")
    assert read(tmp_path, interactions(times))[0] == ROWS


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("yesterday", "1 of another form, such as 'yesterday'"),
        ("13/09/2020", "1 of another form, such as '13/09/2020'"),
        ("1600000000000", "1 of another form, such as '1600000000000'"),
        ("1600000000000000000", "1 of another form, such as '1600000000000000000'"),
        ("0001-01-01 00:00:00", "1 of another form, such as '0001-01-01 00:00:00'"),
        ("9999-12-31", "1 of another form, such as '9999-12-31'"),
        ("20-09-13", "1 of another form, such as '20-09-13'"),
    ],
)
def test_a_time_in_another_form_stops_the_step(tmp_path: Path, time: str, shown: str) -> None:
    with pytest.raises(DecorecError, match=r"interactions\.csv, column 'timestamp': .*found " + shown):
        read(tmp_path, interactions([time, *(str(row[2]) for row in ROWS[1:])]))


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([20200913 + row for row in range(16)], r"found dates without hyphens, such as 20200913; write"),
        ([44087.25 + row for row in range(16)], r"found days, such as 44087\.25; write the dates with hyphens"),
    ],
)
def test_dates_that_would_pass_for_seconds(tmp_path: Path, times: list[float], message: str) -> None:
    with pytest.raises(DecorecError, match=r"interactions\.csv, column 'timestamp': .*" + message):
        read(tmp_path, interactions(times))
    relative = [1_000 * row for row in range(16)]
    assert [time for _, _, time in read(tmp_path, interactions(relative))[0]] == relative


def test_times_within_a_second_keep_their_order(tmp_path: Path) -> None:
    # Within each user, the file runs against time; the table holds whole seconds.
    times = [START + 0.1 * (3 - index % 4) for index in range(16)]
    found, _ = read(tmp_path, interactions(times))
    for user in range(4):
        assert [item for name, item, _ in found if name == f"u{user}"] == ["i3", "i2", "i1", "i0"]
    assert {time for _, _, time in found} == {START}


def test_words_for_nothing_are_no_ids(tmp_path: Path) -> None:
    words = ["nan", "NaN", "None", "NULL", "null"]
    lost = [(word, item, START) for word in words for item in ("i0", "i1", "i2", "i3")]
    content = text([*ROWS, *lost, ("u0", "None", START)])
    shown = "no user: 20 of 37, such as record 17: user 'nan', item 'i0'; record 18: user 'nan', item 'i1'; record 19: "
    with pytest.raises(DecorecError, match=rf"interactions\.csv: .*{shown}.*<name>\.unreadable: 0\.55"):
        read(tmp_path, content)
    found, counts = read(tmp_path, content, unreadable=0.55)
    assert found == ROWS
    assert counts["interactions"]["dropped"] == {"no user": 20, "no item": 1, "no timestamp": 0}


def test_quotes_as_databases_escape_them(tmp_path: Path) -> None:
    rows: list[tuple[Any, ...]] = [(*row, "ok") for row in ROWS]
    rows[2] = (*ROWS[2], r'"a \"fine\" hat"')
    rows[9] = (*ROWS[9], r'"20\" wide"')
    with pytest.raises(DecorecError, match=r"interactions\.csv, line 4: expected a comma or the end of the line after"):
        read(tmp_path, text(rows, "user,item,timestamp,note"))


def test_quotes_as_the_format_has_them(tmp_path: Path) -> None:
    rows: list[tuple[Any, ...]] = [(*row, '"one, ""two""\nthree"') for row in ROWS]
    assert read(tmp_path, text(rows, "user,item,timestamp,note"))[0] == ROWS


def test_a_comma_in_a_text_without_quotes(tmp_path: Path) -> None:
    # The column behind those that are read takes up the shift: without a look at all columns, nothing would be wrong.
    lines = [f"i{item},A hat{', red' if item == 1 else ''},5,{item}.jpg,3" for item in range(4)]
    (tmp_path / "items.txt.csv").write_text("\n".join(["item,title,price,image,stock", *lines]) + "\n")
    (tmp_path / "interactions.csv").write_text(text(ROWS))
    with pytest.raises(
        DecorecError, match=r"items\.txt\.csv, line 3: expected 5 fields as in the header, found 6; put"
    ):
        read_folder(tmp_path, "items.txt.csv", tmp_path / "out")


@pytest.mark.parametrize(
    ("row", "line"),
    [("i1,A hat,with\na feather,1.jpg", 4), ("i1,A hat,with feather,\nand a brim", 4), ("i1,A\n\nhat for\nall,,", 5)],
)
def test_a_line_break_in_a_text_without_quotes(tmp_path: Path, row: str, line: int) -> None:
    def items(row: str) -> None:
        (tmp_path / "items.csv").write_text(
            f"item,title,description,image\ni0,A hat,,\n{row}\ni2,A hat,Nice\ni3,A hat\n"
        )
        (tmp_path / "interactions.csv").write_text(text(ROWS))

    items(row)
    with pytest.raises(
        DecorecError, match=rf"items\.csv, line {line}: expected 4 fields as .* the rest of the line before"
    ):
        read_folder(tmp_path, "items.csv", tmp_path / "out")
    items('i1,A hat,"with\na feather",1.jpg')
    assert read_folder(tmp_path, "items.csv", tmp_path / "out")[0] == ROWS, "empty fields at the end may be left out"


def test_blank_lines_and_stray_returns_beside_quotes(tmp_path: Path) -> None:
    rows: list[tuple[Any, ...]] = [(*row, '"one, two"') for row in ROWS]
    rows[3] = (*ROWS[3], "one\rtwo")
    found, counts = read(tmp_path, "\n" + text(rows, "user,item,timestamp,note") + "\n\n")
    assert found == ROWS and counts["interactions"]["dropped"]["no user"] == 2


def test_a_stray_return_in_the_last_line(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text(text(ROWS))
    (tmp_path / "items.csv").write_bytes(b"\nitem,title\ni0,A hat\ni1,A hat\ni2,A hat\ni3,A\rb")
    assert read_folder(tmp_path, "items.csv", tmp_path / "out")[0] == ROWS


def test_a_quote_in_the_middle_of_a_text(tmp_path: Path) -> None:
    rows: list[tuple[Any, ...]] = [(*row, "ok") for row in ROWS]
    for lost in ((5,), (5, 9)):
        for row in lost:
            rows[row] = (*ROWS[row], '20" wide')
        with pytest.raises(
            DecorecError, match=r"interactions\.csv: .*a quote stands alone in line 7, and rows behind it"
        ):
            read(tmp_path, text(rows, "user,item,timestamp,note"))


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    rows: list[tuple[Any, ...]] = [(*row, "ok") for row in ROWS]
    rows[8] = (*ROWS[8], '"20 wide')
    with pytest.raises(DecorecError, match=r"interactions\.csv"):
        read(tmp_path, text(rows, "user,item,timestamp,note"))


def test_ids_that_have_lost_their_zeros(tmp_path: Path) -> None:
    rows = [(user, f"00{item[1]}", time) for user, item, time in ROWS]
    items = ITEMS.with_columns(item=pl.Series(["000", "1", "002", "003"]))
    with pytest.raises(DecorecError, match=r"items\.csv: expected item '001' of the interactions, found '1' \(1 items"):
        read(tmp_path, text(rows), items)
    found, counts = read(tmp_path, text(rows), items, unreadable=1)
    assert len(found) == 12 and counts["filter"][1]["dropped"] == {"item without metadata": 4}
    lost = ITEMS.with_columns(item=pl.Series(["0", "1", "2", "3"]))
    three = "'000' of the interactions, found '0', '001' and '1', '002' and '2' \\(4 items"
    with pytest.raises(DecorecError, match=three):
        read(tmp_path, text(rows), lost)


def test_blanks_around_the_names_of_columns(tmp_path: Path) -> None:
    assert read(tmp_path, text(ROWS, "user, item, timestamp "))[0] == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text(ROWS).replace("\n", "\r").encode(), r"expected lines that end in LF or CR LF, found CR alone"),
        (text(ROWS).encode("utf-16"), r"expected UTF-8 text, found UTF-16"),
        (text([*ROWS[:5], (*ROWS[5], "more"), *ROWS[6:]]).encode(), r"line 7: expected 3 fields as in .* found 4"),
        (text(ROWS, "user,item, item,timestamp").encode(), r"expected each column once, found 'user', 'item', ' item'"),
        (
            text([(*row, "u9") for row in ROWS], "user, item,timestamp, item").encode(),
            r"column once, found 'item' twice",
        ),
        (text(ROWS).replace(",", ";").encode(), r"line 1: expected names with commas .* found semicolons: 'user;item;"),
        (text([*ROWS, ("u\xe9", "i0", START)]).encode("latin-1"), r"line 18: expected UTF-8 text, found b'u\\xe9,i0"),
        (
            gzip.compress(gzip.compress(text(ROWS).encode(), mtime=0), mtime=0),
            r"expected UTF-8 text, found a gzip file; unpack it",
        ),
        (b"PK\x03\x04" + bytes(99), r"expected UTF-8 text, found a zip archive or a spreadsheet; unpack it"),
        (b"PAR1\x15" + bytes(range(256)) * 99, r"expected UTF-8 text, found a parquet file"),
        (text(ROWS).encode("utf-16-le"), r"expected UTF-8 text, found UTF-16"),
        (b"x," * 9_999 + b"\n", r"expected the columns user, item, timestamp, found x, .*\.\.\.; add or rename user"),
    ],
)
def test_a_file_that_is_no_such_csv(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DecorecError, match=r"interactions\.csv.*" + message) as caught:
        read(tmp_path, content)
    assert str(caught.value).count("\n") == 0 and len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("I1", r"expected item 'I1' of the interactions, found 'i1' \(1 items differ in upper and lower case alone"),
        ("i1\u200b", r"expected item 'i1\\u200b' of the interactions, found 'i1' \(1 items differ in .*cannot be seen"),
        ("1.00123E+12", r"column 'item': expected whole ids, found 1 such as '1.00123E\+12', which a spreadsheet has"),
    ],
)
def test_items_in_another_spelling(tmp_path: Path, item: str, message: str) -> None:
    with pytest.raises(DecorecError, match=message):
        read(tmp_path, text([(user, item if name == "i1" else name, time) for user, name, time in ROWS]))


def test_a_customer_in_two_spellings(tmp_path: Path) -> None:
    for one, other in (("7.0", "7"), ("u\u0308", "\xfc"), ("\ufeffu", "u")):
        rows = [((one if item == "i1" else other) if user == "u1" else user, item, time) for user, item, time in ROWS]
        with pytest.raises(
            DecorecError, match=r"column 'user': expected each id in one spelling, found .* \(1 such ids"
        ):
            read(tmp_path, text(rows))
    versions = [("7.0", "i0", START), ("7", "i0", START), ("7.5", "i0", START)]
    assert read(tmp_path, text([*ROWS, *versions]))[0] == ROWS, "here 7.0 and 7 may be two"


def test_short_ids_may_differ_in_their_case_alone(tmp_path: Path) -> None:
    unknown = [("u0", f"{letter}{number}", START) for letter in "Ix" for number in range(1, 20) for _ in range(3)]
    rows = [row for row in unknown if row[1] not in {f"I{number}" for number in range(2, 20)}]
    found, _ = read(
        tmp_path, text([*ROWS, *((f"{user}{n % 3}", item, time) for n, (user, item, time) in enumerate(rows))])
    )
    assert found == ROWS


def test_line_ends_of_windows(tmp_path: Path) -> None:
    assert read(tmp_path, text(ROWS).replace("\n", "\r\n"))[0] == ROWS


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("title", [1.5, 2.5, 3.5, None], r"expected text, found Float64"),
        ("image", [1, 2, 3, 4], r"expected text or lists of texts, found Int64"),
        ("image", [[{"url": "a.jpg"}], [], None, []], r"expected text or lists of texts, found List\(Struct\("),
        ("image", [[1], [2], [], []], r"expected text or lists of texts, found List\(Int64\)"),
        ("category", [[["a"]], [["b"]], [], []], r"expected text or lists of texts, found List\(List\(String\)\)"),
        ("description", [b"a", b"b", b"c", b"d"], r"expected text, found Binary"),
        (
            "image",
            ["a.jpg", "['b.jpg', 'c.jpg']", None, "[]"],
            r"""expected one text, found 2 lists, such as "\['b\.jpg""",
        ),
        ("category", ['["Hats", "New"]', "[x]", "", ""], r"""expected one text, found 1 lists, such as '\["Hats"""),
    ],
)
def test_columns_that_are_no_text(tmp_path: Path, name: str, values: list[Any], expected: str) -> None:
    items = ITEMS.with_columns(pl.Series(name, values))
    with pytest.raises(DecorecError, match=rf"items\.parquet, column '{name}': {expected}"):
        read(tmp_path, interactions(), items, "parquet")


@pytest.mark.parametrize("name", ["rating", "timestamp"])
@pytest.mark.parametrize("value", [{"a": "1"}, [1.5], b"1"])
def test_times_and_ratings_of_other_types(tmp_path: Path, name: str, value: Any) -> None:
    interactions().with_columns(pl.Series(name, [value] * 16)).write_parquet(tmp_path / "interactions.parquet")
    ITEMS.write_csv(tmp_path / "items.csv")
    with pytest.raises(
        DecorecError, match=rf"interactions\.parquet, column '{name}': expected .*, found .*; convert the column"
    ):
        read_folder(tmp_path, "items.csv", tmp_path / "out", interactions="interactions.parquet")


def test_numbered_categories_and_gaps_in_lists(tmp_path: Path) -> None:
    read(tmp_path, interactions(), ITEMS.with_columns(category=pl.Series([7, 8, 9, 7])), "parquet")
    assert pl.read_parquet(tmp_path / "out" / "catalogue")["categories"].to_list() == [["7"], ["8"], ["9"], ["7"]]
    lists = ITEMS.with_columns(category=pl.Series([[7, 8], [9], None, []], dtype=pl.List(pl.Int32)))
    read(tmp_path, interactions(), lists, "parquet")
    assert pl.read_parquet(tmp_path / "out" / "catalogue")["categories"].to_list() == [["7", "8"], ["9"], [], []]
    gaps = ITEMS.with_columns(category=pl.Series([["A", None], ["B"], [None], None], dtype=pl.List(pl.String)))
    read(tmp_path, interactions(), gaps, "parquet")
    assert pl.read_parquet(tmp_path / "out" / "catalogue")["categories"].to_list() == [["A"], ["B"], [], []]


def test_words_for_nothing_are_no_texts(tmp_path: Path) -> None:
    words = {"title": ["nan", "NULL", "None", "A hat"], "brand": "None", "category": "nan", "image": ["NULL", *"abc"]}
    read(
        tmp_path,
        interactions(),
        ITEMS.with_columns(
            **{name: pl.Series(value) if isinstance(value, list) else pl.lit(value) for name, value in words.items()}
        ),
    )
    found = pl.read_parquet(tmp_path / "out" / "catalogue")
    assert found["text"].to_list() == ["", "", "", "A hat."] and found["categories"].to_list() == [[]] * 4
    assert found["image_urls"].to_list() == [[], ["a"], ["b"], ["c"]]


def test_a_text_that_is_too_long_is_counted(tmp_path: Path) -> None:
    _, counts = read(
        tmp_path, interactions(), ITEMS.with_columns(description=pl.Series(["word " * 400 + "end", *"abc"]))
    )
    assert counts["items"]["repaired"] == {"description: 2,000 characters or more, not in the text": 1}
    assert pl.read_parquet(tmp_path / "out" / "catalogue")["text"][0] == "A hat."


def test_ids_that_are_fractions(tmp_path: Path) -> None:
    with pytest.raises(DecorecError, match=r"items\.parquet, column 'item': expected ids as text or whole .* Float64"):
        read(tmp_path, interactions(), ITEMS.with_columns(item=pl.Series([1.0, 2.0, 3.0, 4.0])), "parquet")


def test_addresses_of_pictures_lose_blanks(tmp_path: Path) -> None:
    addresses = [" a.jpg ", " https://shop.example/b.jpg", "c d.jpg", ""]
    read(tmp_path, interactions(), ITEMS.with_columns(image=pl.Series(addresses)))
    found = pl.read_parquet(tmp_path / "out" / "catalogue")["image_urls"].to_list()
    assert found == [["a.jpg"], ["https://shop.example/b.jpg"], ["c d.jpg"], []]


def test_blanks_around_every_value_of_a_table(tmp_path: Path) -> None:
    rows = [f" {user} ,\t{item}, {time} , 4.5 " for user, item, time in ROWS]
    read(tmp_path, "\n".join([" user,item ,timestamp, rating ", *rows]) + "\n")
    found = pl.read_parquet(tmp_path / "out" / "interactions")
    assert found.rows() == [(user, item, 4.5, time) for user, item, time in ROWS]


def test_names_of_pictures_in_either_form_of_unicode(tmp_path: Path) -> None:
    (tmp_path / "u\u0308.jpg").write_bytes(b"from a Mac")
    assert read_picture(tmp_path, "\xfc.jpg", 99) == b"from a Mac"
    (tmp_path / "\xfc.jpg").write_bytes(b"as named")
    assert read_picture(tmp_path, "\xfc.jpg", 99) == b"as named"
    with pytest.raises(PictureError, match="missing-file"):
        read_picture(tmp_path, "\xe4.jpg", 99)


def test_each_refused_address_has_a_reason_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "odd\\name.jpg").write_bytes(b"here")
    assert read_picture(tmp_path, "odd\\name.jpg", 10) == b"here"
    for name, reason in [
        ("//shop.example/x.jpg", "no-scheme"),
        ("sub\\x.jpg", "backslash"),
        ("x.jpg", "missing-file"),
        ("/x.jpg", "outside-folder"),
    ]:
        with pytest.raises(PictureError) as caught:
            read_picture(tmp_path, name, 10)
        assert caught.value.error == reason and caught.value.permanent


RIGHT: dict[str, int | str] = {
    "csv-backslash-odd-unused": "line 22",
    "csv-cr-only": "CR alone",
    "csv-lost-zeros": "expected item '0010101' of the interactions, found '10101'",
    "csv-null-words": "no user: 48 of 72",
    "csv-ragged": "line ",
    "csv-space-header": 72,
    "csv-utf16": "UTF-16",
    "items-parquet-int-image": "items.parquet, column",
    "items-parquet-nested": "items.parquet, column",
    "items-parquet-odd": "items.parquet, column",
    "picture-address-forms": 72,
    "time-iso-mixed": 72,
    "shop-without-pictures": 320,
    "time-odd": "no timestamp: 24 of 72, such as record 3: user 'u00', item 'i03', timestamp 'inf'; record 4: user",
    "time-padded": 72,
    "time-subsecond-float": 72,
    "url-with-blank": 72,
}
"""Case -> interactions that are kept with 3-core, or a part of the message."""


@pytest.mark.parametrize("case", sorted(RIGHT))
def test_cases(tmp_path: Path, case: str) -> None:
    folder, right = CASES / case, RIGHT[case]
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    items = "items.parquet" if (folder / "items.parquet").exists() else "items.csv"
    if isinstance(right, str):
        with pytest.raises(DecorecError) as caught:
            read_folder(folder, items, tmp_path)
        assert right in str(caught.value) and len(str(caught.value)) < 500
        return
    found, _ = read_folder(folder, items, tmp_path)
    assert len(found) == right
    if (folder / "right.json").exists():
        order: dict[str, list[str]] = {}
        for user, item, _ in found:
            order.setdefault(user, []).append(item)
        assert order == json.loads((folder / "right.json").read_text())
