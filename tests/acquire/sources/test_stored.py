"""Data sets in folders of parquet files, as saved by the library datasets, and in data bases."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from decorec.acquire.sources.registry import open_tables
from decorec.config.base import explain
from decorec.config.datasets import Dataset
from decorec.errors import DecorecError
from decorec.errors import explain as mishap
from tests.acquire.sources.ingested import SALES, ingested

ROWS = [(user, f"00{item}", time) for user, item, time in SALES]
INTERACTIONS = pl.DataFrame(ROWS, schema=["user", "item", "timestamp"], orient="row")
ITEMS = pl.DataFrame({"item": [f"00{item}" for item in range(4)], "title": ["Top", "Hat", "Dress", "Belt"]})


def paths(section: dict[str, Any]) -> list[Path]:
    return open_tables(TypeAdapter(Dataset).validate_python(section)).paths()


# --- Folders of parquet files --------------------------------------------------------------------------------------


def parts(folder: Path) -> dict[str, Any]:
    """The items bought are the names of folders; within each, the rows of two files."""
    for item in range(4):
        own = INTERACTIONS.filter(item=f"00{item}").drop("item").rename({"user": "customer"})
        place = folder / "sales" / f"item=00{item}"
        place.mkdir(parents=True)
        own[:3].write_parquet(place / "part-2.parquet")
        own[3:].write_parquet(place / "part-10.parquet")
    (folder / "sales" / "_temporary").mkdir()
    (folder / "sales" / "_temporary" / "part-0.parquet").write_bytes(b"not yet")
    ITEMS.write_parquet(folder / "items.parquet")
    files = {"interactions": "sales", "items": "items.parquet"}
    return {"source": "table", "path": str(folder), **files, "columns": {"user": "customer"}}


def test_folders_of_parquet_files(tmp_path: Path) -> None:
    section = parts(tmp_path)
    kept, _, _ = ingested(tmp_path, section)
    assert kept.select("user", "item", "timestamp").rows() == INTERACTIONS.sort("item", maintain_order=True).rows()
    read = [path.relative_to(tmp_path).as_posix() for path in paths(section)]
    assert read[:2] == ["sales/item=000/part-2.parquet", "sales/item=000/part-10.parquet"] and len(read) == 9


def test_folders_of_parquet_files_that_do_not_fit_together(tmp_path: Path) -> None:
    section = parts(tmp_path)
    late = tmp_path / "sales" / "item=003" / "part-10.parquet"
    pl.read_parquet(late).with_columns(pl.lit(1.5).alias("customer")).write_parquet(late)
    with pytest.raises(
        DecorecError, match=r"item=003/part-10\.parquet, column 'customer': expected String as in .*-2\.par"
    ):
        ingested(tmp_path, section)
    late.write_bytes(b"PAR1")
    with pytest.raises(
        DecorecError, match=r"item=003/part-10\.parquet: expected a table of interactions, found a file"
    ):
        ingested(tmp_path, section)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DecorecError, match=r"/empty: expected a table of interactions, found a folder without parquet"):
        ingested(tmp_path, section | {"interactions": "empty"})
    late.unlink()
    with pytest.raises(
        DecorecError, match=r"/sales: expected the columns buyer, item, timestamp, found .*customer.*; add"
    ):
        ingested(tmp_path, section | {"columns": {"user": "buyer"}})


def test_what_would_be_left_out_of_a_folder_is_refused(tmp_path: Path) -> None:
    section = parts(tmp_path)
    expected = ingested(tmp_path, section)[0]
    late = tmp_path / "sales" / "item=003" / "part-10.parquet"
    late.rename(late.with_suffix(".PARQUET"))
    (tmp_path / "sales" / "README.txt").write_text("sales of a year")
    assert ingested(tmp_path, section)[0].equals(expected)
    late.with_suffix(".PARQUET").rename(late.with_suffix(".csv"))
    with pytest.raises(
        DecorecError, match=r"/sales: expected parquet files, found item=003/part-10\.csv as well, a table"
    ):
        ingested(tmp_path, section)
    late.with_suffix(".csv").rename(late)
    (tmp_path / "sales" / "item=003").rename(tmp_path / "elsewhere")
    (tmp_path / "sales" / "item=003").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        DecorecError, match=r"/sales: expected parquet files, found item=003 as well, a link to a folder"
    ):
        ingested(tmp_path, section)


def test_a_file_that_is_damaged_inside_is_named(tmp_path: Path) -> None:
    section = parts(tmp_path)
    late = tmp_path / "sales" / "item=003" / "part-10.parquet"
    content = late.read_bytes()
    late.write_bytes(content[:4] + b"\xff" * 40 + content[44:])
    with pytest.raises(DecorecError, match=r"part-10\.parquet: expected a table of interactions, found a file that"):
        ingested(tmp_path, section)


# --- Hugging Face --------------------------------------------------------------------------------------------------


def save(folder: Path, *files: pl.DataFrame, **features: Any) -> None:
    """As ``save_to_disk`` of the library datasets does."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{len(files):05d}.arrow" for number in range(len(files))]
    for name, frame in zip(names, files, strict=True):
        frame.write_ipc_stream(folder / name, compat_level=pl.CompatLevel.oldest())
    formats = {"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False}
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "d665e8f32748ade2", **formats}
    (folder / "state.json").write_text(json.dumps(state | {"_split": None}, indent=2))
    values = {name: {"dtype": "string", "_type": "Value"} for name in files[0].columns}
    (folder / "dataset_info.json").write_text(json.dumps({"citation": "", "features": values | features}))


def saved(folder: Path) -> dict[str, Any]:
    sales = INTERACTIONS.with_columns(pl.from_epoch("timestamp").dt.cast_time_unit("ns")).rename({"user": "buyer"})
    sales = pl.concat([sales, sales[:1].with_columns(item=pl.lit(None, pl.String))])
    save(folder / "sales" / "train", sales[:7], sales[7:])
    (folder / "sales" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    kinds = {"names": ["hat", "wear"], "_type": "ClassLabel"}
    pictures = pl.Series("photo", [{"bytes": b"jpeg", "path": "0.jpg"}] * 4)
    items = ITEMS.with_columns(kind=pl.Series([1, 0, 1, None]), image=pl.format("{}.jpg", "item")).with_columns(
        pictures
    )
    save(folder / "items", items, kind=kinds)
    names = {"columns": {"user": "buyer"}, "item_columns": {"category": "kind"}}
    return {"source": "huggingface", "path": str(folder), "interactions": "sales/train", **names}


def test_hugging_face(tmp_path: Path) -> None:
    section = saved(tmp_path)
    kept, items, counts = ingested(tmp_path, section)
    assert kept.select("user", "item", "timestamp").rows() == ROWS
    assert counts["interactions"]["dropped"] == {"no user": 0, "no item": 1, "no timestamp": 0}
    assert items["categories"].to_list() == [["wear"], ["hat"], ["wear"], []]
    assert items["image_urls"].to_list()[1] == ["001.jpg"] and items["title"][1] == "Hat"
    assert [path.name for path in paths(section)][:2] == ["state.json", "data-00000-of-00002.arrow"]


def test_hugging_face_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    section = saved(tmp_path)
    with pytest.raises(
        DecorecError, match=r"/sales: expected one data set, found a dict of the splits train, test; name"
    ):
        ingested(tmp_path, section | {"interactions": "sales"})
    with pytest.raises(
        DecorecError, match=r"data-00000-of-00001\.arrow, column 'photo': .* found pictures; write them"
    ):
        ingested(tmp_path, section | {"item_columns": {"image": "photo"}})
    with pytest.raises(DecorecError, match=r"/train: expected the columns customer, item, timestamp, found .*buyer"):
        ingested(tmp_path, section | {"columns": {"user": "customer"}})
    save(tmp_path / "floats", INTERACTIONS.with_columns(item=pl.lit(1.0)))
    with pytest.raises(
        DecorecError, match=r"/floats, column 'item': expected ids as text or whole numbers, found Float64"
    ):
        ingested(tmp_path, section | {"interactions": "floats", "columns": {}})
    cut = tmp_path / "sales" / "train" / "data-00001-of-00002.arrow"
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(
        DecorecError, match=r"data-00001-of-00002\.arrow: expected a table of interactions, found a file"
    ):
        ingested(tmp_path, section)
    (tmp_path / "sales" / "train" / "state.json").write_text("{}")
    with pytest.raises(DecorecError, match=r"state\.json: expected what save_to_disk writes, found no names of Arrow"):
        ingested(tmp_path, section)


# --- SQL -----------------------------------------------------------------------------------------------------------

SECRET = "open-sesame"
VALUES = ", ".join(f"('{user}', '{item}', {time})" for user, item, time in [*ROWS, ("u0", "", SALES[0][2])])
TABLES = [
    "create table sales (customer varchar, sku varchar, seconds bigint)",
    f"insert into sales values {VALUES}",
    "create table goods (sku varchar, name varchar, price numeric(6, 2))",
    "insert into goods values ('000', 'Top', 1), ('001', 'Hat', 2.5), ('002', 'Dress', 3), ('003', null, 4)",
]
QUERIES = {
    "interactions": "select customer as user_, sku as item, to_timestamp(seconds) as timestamp, 4.5::numeric(3, 1) as "
    "rating from sales order by seconds, sku".replace("user_", '"user"'),
    "items": "select sku as item, name as title, sku || '.jpg' as image from goods",
}


def expect_the_sales(folder: Path, section: dict[str, Any]) -> None:
    kept, items, counts = ingested(folder, section)
    ordered = sorted(ROWS, key=lambda row: row[2])
    assert kept.rows() == [(user, item, 4.5, time) for user, item, time in ordered]
    assert counts["interactions"]["dropped"] == {"no user": 0, "no item": 1, "no timestamp": 0}
    assert dict(items.select("item", "title").rows()) == {"000": "Top", "001": "Hat", "002": "Dress", "003": ""}
    assert items.filter(item="001")["image_urls"].to_list() == [["001.jpg"]]


def test_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb")
    file = tmp_path / "shop.duckdb"
    with duckdb.connect(str(file)) as connection:
        for statement in TABLES:
            connection.execute(statement)
    section = {"source": "sql", "database": f"duckdb:{file}", **QUERIES}
    expect_the_sales(tmp_path, section)
    assert set(paths(section)) == {file}, "Snakemake sees that the file changes"
    with pytest.raises(
        DecorecError, match=r"shop\.duckdb, query items: expected a table of items, found an error .*goods2"
    ):
        ingested(tmp_path, section | {"items": "select * from goods2"})
    broken = QUERIES["interactions"].replace("sku as item", "1.5::double as item")
    with pytest.raises(DecorecError, match=r"query interactions, column 'item': expected ids as text or whole numbers"):
        ingested(tmp_path, section | {"interactions": broken})
    with pytest.raises(DecorecError, match=r"none\.duckdb: expected a file of DuckDB, found no such file"):
        ingested(tmp_path, section | {"database": f"duckdb:{tmp_path}/none.duckdb"})
    monkeypatch.setitem(sys.modules, "duckdb", None)  # as where it is not installed
    with pytest.raises(ModuleNotFoundError) as caught:
        ingested(tmp_path, section)
    assert "expected the package duckdb, found that it is not installed; run: pip" in str(mishap(caught.value, file))


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address, without the password, of a server of PostgreSQL that asks for one; it listens on a socket."""
    programs = [Path(found).parent for found in [shutil.which("pg_ctl")] if found]
    programs += [
        folder for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin")) if (folder / "pg_ctl").is_file()
    ]
    if not programs:
        pytest.skip("the Debian package postgresql is absent")
    pytest.importorskip("adbc_driver_postgresql")
    # The server refuses to run as root.
    other = ["setpriv", "--reuid=nobody", "--clear-groups"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="decorec-"))
    (folder / "password").write_text(SECRET)
    if other:
        for path in (folder, folder / "password"):
            shutil.chown(path, "nobody")

    def run(program: str, *arguments: str) -> None:
        command = [*other, str(programs[0] / program), "-D", str(folder / "data"), *arguments]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder)
        assert done.returncode == 0, done.stderr

    try:
        password = f"--pwfile={folder}/password"
        run("initdb", "-U", "shop", "-A", "scram-sha-256", password, "--no-sync", "--locale=C", "--encoding=UTF8")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c shared_buffers=1MB"
        run("pg_ctl", "-w", "-t", "120", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://shop@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def test_postgresql(tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from adbc_driver_postgresql import dbapi

    section = {"source": "sql", "database": postgres, **QUERIES}
    monkeypatch.setenv("PGPASSWORD", "another")
    with pytest.raises(
        DecorecError, match=r"query interactions: expected a table of inter.*authentication failed"
    ) as caught:
        ingested(tmp_path, section)
    assert "another" not in str(caught.value) and "shop@" not in str(caught.value)
    monkeypatch.delenv("PGPASSWORD")
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"*:*:*:shop:{SECRET}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    with dbapi.connect(postgres) as connection, connection.cursor() as cursor:
        for statement in TABLES:
            cursor.execute(statement)
        connection.commit()
    expect_the_sales(tmp_path, section)
    assert all(SECRET.encode() not in file.read_bytes() for file in (tmp_path / "out").iterdir())
    assert paths(section) == []
    source = open_tables(TypeAdapter(Dataset).validate_python(section | {"pictures": False}))
    assert not source.has_pictures() and source.picture_names() == [], "planning asks no database"
    with pytest.raises(
        DecorecError, match=r"query items, column 'item': expected ids as text or whole .* found Binary"
    ):
        ingested(tmp_path, section | {"items": "select gen_random_uuid() as item"})


@pytest.mark.parametrize(
    "database",
    [f"postgresql://shop:{SECRET}@db.example/shop", f"postgresql://db.example/shop?user=a&password={SECRET}"],
)
def test_a_password_does_not_stand_in_the_configuration_and_is_not_shown(database: str) -> None:
    for section in ({"source": "sql", "database": database, **QUERIES}, {"source": "sqll", "database": database}):
        with pytest.raises(ValidationError) as caught:
            TypeAdapter(Dataset).validate_python(section)
        assert SECRET not in explain(caught.value, "configuration")
    with pytest.raises(
        ValidationError, match="expected an address without a password, found one; take it out, and set"
    ):
        TypeAdapter(Dataset).validate_python({"source": "sql", "database": database, **QUERIES})
