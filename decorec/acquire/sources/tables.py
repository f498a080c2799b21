"""Sources that are two tables: how interactions and items are read from them, whatever their columns are called.

A source says where its tables are (``files.py``) and which of their columns is which of ours. The rules for what the
columns may hold are the same for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from decorec.acquire.item_text import TOO_LONG, clean, is_code, sentences
from decorec.acquire.sources import columns
from decorec.acquire.sources.files import Opened, TableFile
from decorec.acquire.sources.source import Metadata, Row, Source
from decorec.data.id_codes import ids, present
from decorec.data.interactions import (
    RECORD,
    Account,
    Interactions,
    complete,
    examples,
    examples_of,
    in_one_piece,
    shortened,
)
from decorec.errors import DecorecError

__all__ = ["COLUMNS", "ITEM_COLUMNS", "Table", "Tables", "table_row"]

LEVELS = " > "
"""Separates the levels of a category that is given as one string."""
COLUMNS, ITEM_COLUMNS = "datasets.<name>.columns", "datasets.<name>.item_columns"
"""Keys that give names to the columns of interactions and of items, where a source has such keys."""
HEADINGS = 400
"""Longest list of columns that a message shows."""


@dataclass(frozen=True)
class Table:
    """One table of a source, and which of its columns is which of ours."""

    file: TableFile
    names: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column -> its name in the file, where it must then be. A column that is not named here has our name
    there, or is absent."""
    made: Mapping[str, pl.Expr] = field(default_factory=dict)
    """Our name of a column -> how it is made from columns of the file."""
    per_second: int = 1
    """Units in a second of times that are numbers."""
    key: str = ""
    """The key of the configuration that gives names to columns, if there is one."""

    def called(self, name: str) -> str:
        """The name in the file of a column of ours."""
        return self.names.get(name, name)

    @contextmanager
    def opened(self, what: str, wanted: Sequence[str], required: Sequence[str]) -> Iterator[Opened]:
        """Those of the columns ``wanted`` that there are, under our names, and what was lost in reading.

        Raises:
            DecorecError: the file is missing or not ``what``, or has not all columns that are ``required`` or named.
        """
        sources = {name: self.made.get(name, pl.col(self.called(name))) for name in wanted}
        needed = {name: expression.meta.root_names() for name, expression in sources.items()}
        with self.file.opened(what, sorted({root for roots in needed.values() for root in roots})) as (table, lost):
            present = table.collect_schema().names()
            expected = dict.fromkeys(
                root
                for name in wanted
                if name in required or name in self.names or name in self.made
                for root in needed[name]
            )
            missing = [name for name in expected if name not in present]
            if missing:
                ours = next(name for name in wanted if missing[0] in needed[name])
                example = f", or say what they are called there: {self.key}: {{{ours}: ...}}" if self.key else ""
                raise DecorecError(
                    f"{self.file.origin}: expected the columns {', '.join(expected)}, found "
                    f"{shortened(', '.join(present), HEADINGS)}; add or rename {', '.join(missing)}{example}"
                )
            found = [name for name in wanted if set(needed[name]) <= set(present)]
            yield table.select(**{name: sources[name] for name in found}), lost

    def read_interactions(self) -> tuple[Interactions, Account]:
        """Users, items, ratings (null where absent) and times in microseconds, in the order of the file.

        The column timestamp holds seconds since 1970 (as number or text, with or without a fraction; or other units,
        ``per_second``), dates and times of ISO 8601 as text, or dates or times of its own type. Words such as nan, None
        and NULL stand for no id and no time.

        Raises:
            DecorecError: the file is missing or not a table, a column is missing or of a wrong type, a csv file is
                damaged, a time is not in one of these forms, times count days, ids were changed by a program, or no row
                has a user, an item and a time.
        """
        with self.opened("a table of interactions", columns.INTERACTIONS, columns.INTERACTIONS[:3]) as (table, lost):
            schema = table.collect_schema()
            for name in ("user", "item"):
                self.expect_id(table, name, schema[name])
            for name, expected in (("timestamp", "seconds since 1970, dates or texts"), ("rating", "numbers or texts")):
                if name in schema and not columns.is_value(schema[name], name):
                    raise self._of_type(name, expected, schema[name])
            rating = pl.col("rating") if "rating" in schema else pl.lit(None)
            if schema.get("rating") == pl.String:
                rating = rating.str.strip_chars()
            time = columns.microseconds(schema["timestamp"], self.per_second)
            texts = {name: pl.col(name).cast(pl.String) for name in ("user", "item")}
            frame = table.select(
                **{name: text.cast(ids()) for name, text in texts.items()},
                rating=rating.cast(pl.Float32, strict=False),
                timestamp=time,
            ).collect(engine="streaming")
            without = pl.DataFrame(schema=[*texts, "timestamp"])
            if frame["timestamp"].null_count():  # only then are the times needed as they are written
                without = (
                    table.with_row_index(RECORD, offset=1)
                    .filter(time.is_null())
                    .select(**texts, timestamp="timestamp", record=RECORD)
                    .collect(engine="streaming")
                )
        frame = in_one_piece(frame)
        self.file.expect_records(len(frame))
        self._expect_times(columns.unread_times(without["timestamp"]), frame["timestamp"])
        number = partial(
            complete,
            account=Account(
                {**lost.summary, "records": len(frame)},
                lost.dropped,
                lost.repaired,
                {**lost.examples, "no timestamp": examples_of(without)},
            ),
            per_second=columns.PER_SECOND,
            origin=self.file.origin,
            expected=f"rows with {', '.join(map(self.called, ('user', 'item')))} and {self.called('timestamp')} "
            f"({self._times})",
            written=frame,
        )
        found, account = number(frame)
        # Blanks around ids and words for nothing are searched among the distinct ids, because these are fewer.
        if not all(columns.are_clean(present(found.rows[name])) for name in texts):
            del found
            identified = [columns.identified(name).cast(ids()) for name in texts]
            found, account = number(in_one_piece(frame.lazy().with_columns(identified).collect(engine="streaming")))
        for name in texts:
            self._expect_exact(name, present(found.rows[name]))
        return found, account

    def read_items(self, wanted: pl.Series | None = None) -> Metadata:
        """Ids of all items and the columns of the ``wanted`` items (None: of all); an item's first row is used.

        Raises:
            DecorecError: the file is missing or not a table, has no column "item" or a column of a wrong type, a csv
                file is damaged, ids were changed by a program, or a text is a list.
        """
        with self.opened("a table of items", columns.ITEMS, columns.ITEMS[:1]) as (table, lost):
            schema = table.collect_schema()
            self.expect_id(table, "item", schema["item"])
            texts = [self._described(name, dtype) for name, dtype in schema.items() if name != "item"]
            rows = table.select(columns.identified("item"), *texts).collect(engine="streaming")
        self.file.expect_records(len(rows), unbroken=True)
        self._expect_no_lists(rows)
        named = rows.filter(pl.col("item").is_not_null())
        self._expect_exact("item", named["item"])
        first = named.unique("item", keep="first", maintain_order=True)
        dropped = {**lost.dropped, "no item": len(rows) - len(named), "repeated item": len(named) - len(first)}
        records = first if wanted is None else first.filter(pl.col("item").is_in(wanted.implode()))
        nameless = examples(rows, rows["item"].is_null(), rows.columns[1:])
        summary = {**lost.summary, "records": len(rows), "items": len(first)}
        account = Account(summary, dropped, lost.repaired, {**lost.examples, "no item": nameless})
        return Metadata(first["item"], records, account)

    def read_ids(self, what: str) -> list[str]:
        """The ids in the column item, in the order of the file; rows without one are passed over.

        Args:
            what: what the file is for, in messages.

        Raises:
            DecorecError: the file is missing, damaged or not ``what``, or ids were changed by a program.
        """
        with self.opened(what, ["item"], ["item"]) as (table, _):
            self.expect_id(table, "item", table.collect_schema()["item"])
            rows = table.select(columns.identified("item")).collect(engine="streaming")
        self.file.expect_records(len(rows), unbroken=True)
        found = rows["item"].drop_nulls()
        self._expect_exact("item", found)
        return found.to_list()

    def pictures(self, select: Callable[[pl.LazyFrame], pl.LazyFrame]) -> list[str]:
        """File names and URLs of pictures in a table of items, those that ``select`` takes.

        Raises:
            DecorecError: the file is missing or not a table.
        """
        with self.opened("a table of items", ["image"], []) as (table, _):
            schema = table.collect_schema()
            if "image" not in schema:
                return []
            names = table.select(self._described("image", schema["image"]))
            if isinstance(schema["image"], pl.List):
                names = names.explode("image")
            return select(names.filter(pl.col("image") != "")).collect()["image"].to_list()

    @property
    def _times(self) -> str:
        return {1: "seconds", 1_000: "milliseconds"}[self.per_second] + " since 1970"

    def _described(self, name: str, dtype: pl.DataType) -> pl.Expr:
        found = columns.described(name, dtype)
        if isinstance(found, str):
            raise self._of_type(name, found, dtype)
        return found

    def _of_type(self, name: str, expected: str, found: pl.DataType | str) -> DecorecError:
        return DecorecError(
            f"{self.file.origin}, column {self.called(name)!r}: expected {expected}, found {found}; convert the column"
        )

    def expect_id(self, table: pl.LazyFrame, name: str, dtype: pl.DataType) -> None:
        """Check that a column can hold ids.

        Raises:
            DecorecError: its type is another.
        """
        if not columns.is_id(dtype):
            shown = table.select(pl.col(name).drop_nulls().head(3)).collect()[name].to_list()
            raise self._of_type(name, "ids as text or whole numbers", f"{dtype} (such as {', '.join(map(str, shown))})")

    def _expect_exact(self, name: str, found: pl.Series) -> None:
        """Refuse ids that a program has changed, so that one stands for many customers or items, or several for one."""
        place = f"{self.file.origin}, column {self.called(name)!r}"
        cut = columns.rounded(found)
        if len(cut):
            raise DecorecError(
                f"{place}: expected whole ids, found {cut.n_unique()} such as {cut[0]!r}, which a spreadsheet has "
                "rounded; take the column from where it came from, as text"
            )
        pairs = columns.doubles(found)
        if len(pairs):
            raise DecorecError(
                f"{place}: expected each id in one spelling, found {pairs['id'][0]!a} and {pairs['plain'][0]!a} "
                f"({len(pairs)} such ids); write the ids alike"
            )

    def _expect_no_lists(self, rows: pl.DataFrame) -> None:
        """Refuse lists of pictures or categories that were written into a column of texts."""
        for name in ("category", "image"):
            if rows.schema.get(name) == pl.String and len(found := columns.listed(rows[name])):
                raise DecorecError(
                    f"{self.file.origin}, column {self.called(name)!r}: expected one text, found {len(found)} lists, "
                    f"such as {shortened(found[0])!r}; write one value, or a column of lists in parquet"
                )

    def _expect_times(self, unread: pl.Series, read: pl.Series) -> None:
        """Refuse a table where a time is written but cannot be read, because its rows would be lost.

        So are times that are ``read`` as seconds and are plainly none: their order would be right, and nothing else.
        """
        place = f"{self.file.origin}, column {self.called('timestamp')!r}"
        unit = None if len(unread) else columns.wrong_unit(read)
        if unit is not None:
            raise DecorecError(
                f"{place}: expected {self._times} or dates such as 2020-09-13, found {unit}, such as "
                f"{read.drop_nulls()[0] / columns.PER_SECOND:.10g}; write the dates with hyphens"
            )
        if len(unread):
            shown = ", ".join(map(repr, unread.unique(maintain_order=True).head(3)))
            raise DecorecError(
                f"{place}: expected {self._times} or dates such as 2020-09-13T12:26:40Z, of the years 1900 to 2199, "
                f"found {len(unread)} of another form, such as {shown}; convert them"
                + (" (what counts milliseconds is divided by 1000)" if self.per_second == 1 else "")
            )


def table_row(record: dict[str, Any], repaired: Counter[str]) -> dict[str, Any]:
    """One row of items.parquet; the text is title, category, brand and description, if present.

    The field image is a path relative to the folder of the tables, an absolute path, a URL, or a list of these; it is
    kept as given. Words on two lines stay two words.
    """
    cleaned = partial(clean, breaks=" ")
    texts = {name: cleaned(record[name]) if record.get(name) else "" for name in ("title", "brand", "description")}
    for name in texts:
        if not texts[name] and record.get(name) and is_code(record[name]):
            repaired[f"{name}: code dropped"] += 1
        if len(texts[name].rstrip(".")) >= TOO_LONG - 1:
            repaired[f"{name}: {TOO_LONG:,} characters or more, not in the text"] += 1
    category = record.get("category") or []
    levels = category.split(LEVELS) if isinstance(category, str) else category
    order = [texts["title"], cleaned(category), texts["brand"], texts["description"]]
    images = record.get("image") or []
    return {
        "item": record["item"],
        **texts,
        "categories": [text for text in map(cleaned, levels) if text],
        "text": sentences(text or None for text in order),
        "image_urls": [images] if isinstance(images, str) else list(images),
    }


@dataclass(frozen=True)
class Tables(Source):
    """A source that is a table of interactions and one of items."""

    interactions: Table
    items: Table
    unreadable: float

    @property
    def row(self) -> Row:
        return table_row

    @property
    def interactions_origin(self) -> str:
        return self.interactions.file.origin

    @property
    def items_origin(self) -> str:
        return self.items.file.origin

    def read_interactions(self) -> tuple[Interactions, Account]:
        return self.interactions.read_interactions()

    def read_items(self, wanted: pl.Series) -> Metadata:
        return self.items.read_items(wanted)

    def paths(self) -> list[Path]:
        """The files that both are read from."""
        return [*self.interactions.file.paths(), *self.items.file.paths()]

    def picture_names(self) -> list[str]:
        """File names and URLs of the pictures of all items, each once.

        Raises:
            DecorecError: the table of items is missing or not a table.
        """
        return self.items.pictures(pl.LazyFrame.unique)

    def has_pictures(self) -> bool:
        """Whether some item has a picture; the table is read no further than that.

        Raises:
            DecorecError: as for ``picture_names``.
        """
        return bool(self.items.pictures(lambda names: names.head(1)))
