"""Random damage to everything that a user writes: only a DecorecError may come out, and the counts add up.

In the gate every test takes a few fixed examples. ``make fuzz`` sets FUZZ to the number of random examples in all.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from decorec.acquire.ingest import ingest
from decorec.acquire.item_text import clean
from decorec.acquire.sources.table import opened
from decorec.config import load
from decorec.config.datasets import AmazonDataset, AtomicDataset, TableDataset
from decorec.config.prepare import FilterConfig
from decorec.errors import DecorecError
from decorec.plan.plan import Plan
from decorec.prepare.atomic import atomic
from tests.prepare.test_atomic import write as write_atomic
from tests.support.category import DAY, metadata, reviews

KINDS, REPOSITORY = 6, Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("FUZZ", 0)) // KINDS
pytestmark = pytest.mark.timeout(600 + EXAMPLES)

fuzz = settings(
    max_examples=EXAMPLES or 12,
    derandomize=not EXAMPLES,
    database=None,
    deadline=20_000,  # milliseconds for one example, which usually takes 20: what hangs is a defect
    suppress_health_check=list(HealthCheck),
)
Scalar = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["", " ", "nan", "NULL", "0", "-1", "1e400", "2020-01-01", "{a:b}", "<b>", "\ufeff", "a\x00b", "é\u2028"]
    ),
)
Value = st.recursive(
    Scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A new folder for one example."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def damaged(draw: Callable[..., Any], content: bytes) -> bytes:
    """``content``, cut, with some bytes replaced, inserted or taken out, in up to three places."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["replace", "insert", "remove", "cut"]))
        some = draw(
            st.binary(max_size=4) | st.sampled_from([b'"', b"\n", b"\r", b",", b"\t", b"{", b"\x00", b"\xff", b"\\"])
        )
        if kind == "cut":
            content = content[:at]
        else:
            end = at if kind == "insert" else at + len(some)
            content = content[:at] + (b"" if kind == "remove" else some) + content[end:]
    return content


def records(draw: Callable[..., Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``rows`` with other values in up to four fields, or without them."""
    rows = [dict(row) for row in rows]
    for _ in range(draw(st.integers(0, 4))):
        row = draw(st.sampled_from(rows))
        name = draw(st.sampled_from(sorted(row)) if row else st.just("other"))
        if draw(st.booleans()):
            row[name] = draw(Value)
        else:
            row.pop(name, None)
    return rows


def adds_up(counts: dict[str, Any], interactions: Path) -> None:
    """Records that were read = those that were kept and those that were dropped, by reason."""
    found = counts["interactions"]
    dropped = [
        found["dropped"],
        *(step["dropped"] for step in counts["filter"][:2]),
    ]  # the k-core counts users and items
    assert [step["step"] for step in counts["filter"][:2]] == ["duplicates", "metadata"]
    left = counts["filter"][1]["interactions"]
    assert found.get("lines", found["records"]) == left + sum(sum(reasons.values()) for reasons in dropped)
    assert counts["kept"]["interactions"] == counts["filter"][-1]["interactions"]
    assert counts["kept"]["interactions"] == len(pl.read_parquet(interactions)) > 0


def ingested(place: Path, dataset: Any, **files: Path) -> None:
    outputs = {name: place / "out" / name for name in ("interactions", "catalogue", "counts")}
    with contextlib.suppress(DecorecError):
        ingest(dataset=dataset, filter=FilterConfig(kcore=3), **files, **outputs)
        adds_up(json.loads(outputs["counts"].read_text()), outputs["interactions"])
        event("read")


@given(st.data())
@fuzz
def test_reviews_and_metadata(data: st.DataObject) -> None:
    year = data.draw(st.sampled_from(["amazon2018", "amazon2023"]))
    with folder() as place:
        files = {}
        for name, rows in (("reviews", reviews(5, 4)), ("meta", metadata(4))):
            if year == "amazon2023":
                names = {"reviewerID": "user_id", "asin": "parent_asin", "overall": "rating", "category": "categories"}
                rows = [
                    {names.get(key, key): value for key, value in row.items()} | {"timestamp": DAY * 1000}
                    for row in rows
                ]
            text = "\n".join(json.dumps(row) for row in records(data.draw, rows)).encode()
            files[name] = place / f"{name}.gz"
            content = gzip.compress(damaged(data.draw, text + b"\n"), 1)
            files[name].write_bytes(damaged(data.draw, content) if data.draw(st.integers(0, 9)) == 0 else content)
        unreadable = data.draw(st.sampled_from([0.1, 1.0]))
        ingested(place, AmazonDataset(source=year, category="Things", unreadable=unreadable), **files)


SALES = [{"user": f"u{n // 4}", "item": f"0{n % 4}", "timestamp": DAY + n, "rating": 4.5} for n in range(16)]
GOODS = [
    {
        "item": f"0{n}",
        "title": f"Hat {n}",
        "brand": "A",
        "category": "B > C",
        "description": 'd, "e"',
        "image": f"{n}.jpg",
    }
    for n in range(4)
]


def table(draw: Callable[..., Any], path: Path, rows: list[dict[str, Any]], ending: str) -> None:
    rows = records(draw, rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if ending == "csv":
        text = [{name: "" if row.get(name) is None else str(row[name]) for name in names} for row in rows]
        path.write_bytes(
            damaged(draw, pl.DataFrame(text, infer_schema_length=None).write_csv().encode("utf-8", "replace"))
        )
        return
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        kind = draw(st.sampled_from(["same", "same", "same", "text", "bytes", "lists", "structs", "bools", "dates"]))
        changed: dict[str, Callable[[], pl.Series]] = {
            "same": lambda values=values: pl.Series(values, strict=False),
            "text": lambda values=values: pl.Series([None if value is None else str(value) for value in values]),
            "bytes": lambda values=values: pl.Series([repr(value).encode() for value in values]),
            "lists": lambda values=values: pl.Series([[str(value)] for value in values]),
            "structs": lambda values=values: pl.Series([{"a": str(value)} for value in values]),
            "bools": lambda values=values: pl.Series([bool(value) for value in values]),
            "dates": lambda values=values: pl.Series([DAY] * len(values)).cast(pl.Datetime("ms")),
        }
        try:
            columns[name] = changed[kind]()
            pl.DataFrame({name: columns[name]}).write_parquet(path)
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
            columns[name] = changed["text"]()
    pl.DataFrame(columns).write_parquet(path)
    if draw(st.integers(0, 9)) == 0:
        path.write_bytes(damaged(draw, path.read_bytes()))


@given(st.data())
@fuzz
def test_tables(data: st.DataObject) -> None:
    with folder() as place:
        names = {}
        for name, rows in (("interactions", SALES), ("items", GOODS)):
            ending = data.draw(st.sampled_from(["csv", "parquet"]))
            names[name] = f"{name}.{ending}"
            table(data.draw, place / names[name], rows, ending)
        unreadable = data.draw(st.sampled_from([0.1, 1.0]))
        dataset = TableDataset(source="table", path=str(place), unreadable=unreadable, **names)
        with contextlib.suppress(DecorecError):
            opened(dataset).picture_names()
        ingested(place, dataset)


@given(st.data())
@fuzz
def test_atomic_files(data: st.DataObject) -> None:
    with folder() as place:
        write_atomic(place, [[0, 1, 2, 3], [3, 2, 1], [1, 1, 1, 0, 2]], 4)
        file = place / data.draw(st.sampled_from(sorted(file.name for file in place.iterdir())))
        file.write_bytes(damaged(data.draw, file.read_bytes()))
        outputs = {name: place / f"{name}.out" for name in ("catalogue", "vocab", "sequences", "statistics")}
        with contextlib.suppress(DecorecError):
            atomic(dataset=AtomicDataset(source="atomic", path=str(place), name="D", width=4), **outputs)


CONFIG: dict[str, Any] = yaml.safe_load((REPOSITORY / "config.yaml").read_text())


def places(values: Any) -> Iterator[tuple[Any, Any]]:
    """All mappings and lists within ``values``, with their keys."""
    for key in values if isinstance(values, dict) else range(len(values)):
        yield values, key
        if isinstance(values[key], dict | list):
            yield from places(values[key])


@given(st.data())
@fuzz
def test_configurations(data: st.DataObject) -> None:
    values = json.loads(json.dumps(CONFIG))
    for _ in range(data.draw(st.integers(1, 3))):
        spots = list(places(values))
        inside, key = data.draw(st.sampled_from(spots))
        kind = data.draw(st.sampled_from(["value", "value", "remove", "add"]))
        if kind == "value":
            other, name = data.draw(st.sampled_from(spots))
            inside[key] = data.draw(Value | st.just(json.loads(json.dumps(other[name]))))
        elif kind == "remove":
            del inside[key]
        elif isinstance(inside, dict):
            known = [
                "name",
                "dim",
                "model",
                "train",
                "encoder",
                "heads",
                "layers",
                "fit",
                "stage1",
                "epochs",
                "graph",
                "method",
            ]
            inside[data.draw(st.sampled_from(known) | st.text(max_size=4))] = data.draw(Value)
        if not values:
            break
    with contextlib.suppress(DecorecError):
        plan = Plan(load(values))
        for run in plan.runs:
            plan.run(run, plan.last_stage(run))
        plan.tables(), plan.figures()


@given(st.text(max_size=3_000) | st.text(alphabet='{}<>:;.#@a !-/"&', max_size=3_000) | Value)
@fuzz
def test_texts(value: Any) -> None:
    assert clean(clean(value)) is not None


@given(st.data())
@fuzz
def test_documents_of_datasets(data: st.DataObject) -> None:
    section = data.draw(st.sampled_from(["sample", "amazon2018", "amazon2023", "table", "atomic", "other"]))
    keys = [
        "path",
        "name",
        "category",
        "items",
        "users",
        "seed",
        "features",
        "width",
        "paper",
        "unreadable",
        "base_url",
    ]
    values = data.draw(st.dictionaries(st.sampled_from(keys), Value | st.just("x"), max_size=6))
    with contextlib.suppress(DecorecError):
        plan = Plan(load({"datasets": {"shop": {"source": section, **values}}}))
        plan.downloaded_files("shop"), plan.dataset("shop"), plan.origin("shop"), plan.modalities("shop")
