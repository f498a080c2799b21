"""Step atomic: data sets in RecBole / UniSRec / MISSRec layout, with given splits.

``<name>.{train,valid,test}.inter``: tab-separated rows (user index, history as item indices separated by blanks, target
index); ``<name>.{item2index,user2index}``: id and index; ``<name>.text``: item id and text. The rows are the sliding
windows of a leave-one-out split; the complete sequences of the users are rebuilt from them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import polars as pl

from decorec.artifacts.files import write_json, write_table
from decorec.config.datasets import AtomicDataset
from decorec.data.atomic_files import read_columns, read_index
from decorec.data.dataset_statistics import describe
from decorec.data.sequences import check_sequences, write_vocab
from decorec.errors import DecorecError
from decorec.prepare.sliding_windows import PARTS, rebuild

__all__ = ["atomic"]

log = logging.getLogger("decorec")
INTER, TEXT = "user_id:token\titem_id_list:token_seq\titem_id:token", "item_id:token\ttext:token_seq"
"""Headers, as the layout has them."""


def atomic(*, dataset: AtomicDataset, catalogue: Path, vocab: Path, sequences: Path, statistics: Path) -> None:
    """Read the splits of an atomic data set; the outputs are those of the steps ingest and split.

    Args:
        dataset: the data set, of the source atomic; its files (read) are PATH/NAME.ENDING.
        catalogue: items.parquet (written): item, title, brand, categories, description, text, image_urls; all are empty
            except item, and text where a .text file has it.
        vocab: vocab.parquet (written), in the order of .item2index: index, item.
        sequences: sequences.parquet (written): user, items (indices, oldest first), timestamps (null), training
            (number of items in the training part), valid and test (positions of the targets).
        statistics: statistics.json (written): counts of the data set.

    Raises:
        DecorecError: a file is missing or damaged, or the rows are not the windows of one sequence per user.
    """
    stem = Path(dataset.path) / dataset.name
    names = read_index(Path(f"{stem}.item2index"))
    users = read_index(Path(f"{stem}.user2index"))
    rows = {part: _read_rows(Path(f"{stem}.{part}.inter"), len(users), len(names)) for part in PARTS}
    found = rebuild(rows, users, str(stem))
    summary = describe(found, len(names))
    log.info("atomic: %d items, %d users, %d interactions", len(names), len(users), summary["interactions"])
    write_table(catalogue, _item_table(names, _read_texts(Path(f"{stem}.text"), names)))
    check_sequences(sequences, found, len(names), complete=False)
    write_vocab(vocab, names)
    found.write(sequences)
    write_json(statistics, summary)


def _expect_header(path: Path, header: str, is_id: Callable[[str], bool]) -> None:
    """Refuse a file whose first line, which is skipped as the header, is a row: it begins with an id."""
    with path.open(encoding="utf-8", errors="replace") as handle:
        first = handle.readline().rstrip("\r\n")
    if is_id(first.split("\t")[0]):
        raise DecorecError(
            f"{path}, line 1: expected a header such as {header!r}, found the row {first[:80]!r}; write the header "
            "above it"
        )


def _read_rows(path: Path, users: int, items: int) -> pl.DataFrame:
    """Columns user, history (list of item indices), target; all int64, in the order of the file."""
    table = read_columns(path, 3, "rows of user, history and target", header=True)
    _expect_header(path, INTER, str.isdecimal)
    table = table.select(
        user=pl.col("a").cast(pl.Int64, strict=False),
        history=pl.col("b").str.split(" ").cast(pl.List(pl.Int64), strict=False),
        target=pl.col("c").cast(pl.Int64, strict=False),
    )
    inside = pl.col("user").is_between(0, users - 1) & pl.col("target").is_between(0, items - 1)
    known = pl.col("history").list.eval(pl.element().is_between(0, items - 1).fill_null(False)).list.all()
    wrong = table.with_row_index("line", offset=2).filter(~(inside & known).fill_null(False))
    if len(wrong):
        raise DecorecError(
            f"{path}, line {wrong['line'][0]}: expected a user index below {users} and item indices below {items} "
            f"(as in .user2index and .item2index), found another value; {len(wrong)} such lines"
        )
    return table


def _read_texts(path: Path, names: list[str]) -> list[str]:
    """Text of each item; "" if the file or the item is missing."""
    if not path.is_file():
        log.info("atomic: no file %s; items have no text of their own", path)
        return [""] * len(names)
    table = read_columns(path, 2, "item ids and texts", header=True).unique("a", keep="first", maintain_order=True)
    _expect_header(path, TEXT, set(names).__contains__)
    texts = dict(zip(table["a"].to_list(), table["b"].fill_null("").str.strip_chars().to_list(), strict=True))
    if texts and names and texts.keys().isdisjoint(names):
        raise DecorecError(
            f"{path}: expected texts of the items of .item2index, such as {names[0]!r}, found those of others, such as "
            f"{next(iter(texts))!r}; take files that belong together, in UTF-8"
        )
    return [texts.get(name, "") for name in names]


def _item_table(names: list[str], texts: list[str]) -> pl.DataFrame:
    empty = [""] * len(names)
    lists = pl.Series([[]] * len(names), dtype=pl.List(pl.String))
    return pl.DataFrame(
        {
            "item": names,
            "title": empty,
            "brand": empty,
            "categories": lists,
            "description": empty,
            "text": texts,
            "image_urls": lists,
        }
    )
