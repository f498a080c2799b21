"""Histories of customers, as the sequences that a model reads: the items that it knows, oldest first."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.acquire.sources.files import is_table, table_file
from decorec.acquire.sources.losses import expect_spelling
from decorec.acquire.sources.tables import Table
from decorec.artifacts import layout
from decorec.artifacts.files import read_table
from decorec.artifacts.schemas.histories import HISTORIES
from decorec.data.id_codes import Codes, codes_in, factorise, sorted_by
from decorec.data.interactions import repeated
from decorec.data.parts import whole
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError

__all__ = [
    "LAST",
    "chosen",
    "expect_ids",
    "expect_ids_alone",
    "expect_times",
    "from_lists",
    "from_sequences",
    "own_histories",
    "read_histories",
    "read_ids",
]

log = logging.getLogger("decorec")
LAST = 253_402_300_799
"""Seconds to the end of the year 9999."""
BESIDE = re.compile(r"""[,;|\t"']+""")
"""What stands between an id and something else on a line, or around it."""


def from_lists(
    histories: Sequence[Sequence[str]], index: dict[str, int], times: Sequence[Sequence[int]] | None = None
) -> Sequences:
    """The known items of some histories.

    Args:
        histories: item ids, oldest first.
        index: item id -> index.
        times: time stamp of each of them, in seconds.

    Raises:
        DecorecError: an id is no text, a history has another number of times than items, or times are no seconds or
            not in order.
    """
    histories = [expect_ids("history", history) for history in histories]
    if times is not None and list(map(len, times)) != list(map(len, histories)):
        raise DecorecError(
            f"times: expected one for each item of each history, found {sum(map(len, times))} for "
            f"{sum(map(len, histories))} items; give one for each"
        )
    for own in times or ():
        expect_times(own)
    found = [[index.get(item, -1) for item in history] for history in histories]
    lengths = np.array([sum(item >= 0 for item in row) for row in found], dtype=np.int64)
    known = [item for row in found for item in row if item >= 0]
    stamps = None
    if times is not None:
        pairs = (pair for row, own in zip(found, times, strict=True) for pair in zip(row, own, strict=True))
        stamps = np.array([time for item, time in pairs if item >= 0], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences([""] * len(found), offsets, np.array(known, dtype=np.int32), stamps, whole(lengths))


def expect_ids(name: str, ids: Iterable[str]) -> list[str]:
    """The ids of an argument, without blanks around them, as all files of a shop are read.

    Other values would be unknown items, or none at all, without a word.

    Raises:
        DecorecError: it is one text, or holds what is no text.
    """
    if isinstance(ids, str):
        raise DecorecError(f"{name}: expected several ids, found the text {ids!r}; give a list")
    return [_expect_id(name, one) for one in ids]


def _expect_id(name: str, one: object) -> str:
    if not isinstance(one, str):
        raise DecorecError(
            f"{name}: expected ids as text, found {one!r} ({type(one).__name__}); write them as the catalogue does"
        )
    return one.strip()


def expect_times(times: Sequence[int]) -> None:
    """Of one history.

    Raises:
        DecorecError: one is no number of seconds, or they are not in order.
    """
    for time in times:
        if not isinstance(time, int | float | np.number) or not 0 <= time <= LAST:
            raise DecorecError(f"times: expected seconds since 1970, found {time!r}; convert them")
    for before, after in pairwise(times):
        if after < before:
            raise DecorecError(
                f"times: expected those of a history in order, the oldest first, found {after} behind {before}; sort "
                "history and times"
            )


def from_sequences(sequences: Path, vocab: Path, items: list[str]) -> Sequences:
    """All users of a data set with their whole sequences, those of the test included.

    Raises:
        DecorecError: the vocabulary has other items than the model.
    """
    known = read_vocab(vocab)
    if known != items[: len(known)]:  # items that were added to the model stand behind those of the data set
        raise DecorecError(f"{vocab}: expected the items of the model, found another list; train the run again")
    return Sequences.read(sequences)


def read_histories(path: Path, items: list[str]) -> Sequences:
    """The histories of all customers in a table of interactions.

    Args:
        path: histories.parquet, or a table (csv, tsv, parquet) of one's own with the columns user, item and timestamp,
            in the form that the interactions of the source table have.
        items: ids in the order of their index.

    Returns:
        sequences of the customers in the order in which they appear, of the items that are known, oldest first; of a
        customer without any, an empty one. A repeated row of a table of one's own counts once.

    Raises:
        DecorecError: the file is missing or no such table, or has ids of the model's items in another spelling.
    """
    if layout.place_of(path):
        (user, users), (item, names) = (_numbered(path, name) for name in ("user", "item"))
        stamps = read_table(path, {"timestamp": HISTORIES["timestamp"]}, only=True)["timestamp"].to_numpy()
        per_second, kept = 1, np.ones(len(stamps), np.bool_)
    else:
        found, account = Table(table_file(path)).read_interactions()
        for reason, count in account.dropped.items():
            if count:
                log.warning("%s: %d rows left out: %s%s", path, count, reason, account.such_as(reason))
        (user, users), (item, names) = (factorise(found.rows[name]) for name in ("user", "item"))
        expect_spelling(str(path), names, items)
        stamps, per_second = found.rows["timestamp"].to_numpy(), found.per_second
        kept = ~repeated(found, "exact")
    index = codes_in(names, pl.Series(items, dtype=pl.String))
    rows = sorted_by(user, sorted_by(stamps, np.flatnonzero(kept & (index[item] >= 0))))
    lengths = np.bincount(user[rows], minlength=len(users))
    offsets, known = np.concatenate([[0], np.cumsum(lengths)]), index[item[rows]].astype(np.int32)
    return Sequences(users.to_list(), offsets, known, stamps[rows] // per_second, whole(lengths))


def _numbered(path: Path, column: str) -> tuple[Codes, pl.Series]:
    """The number of the id in each row, and the ids; one column at a time, since these texts are most of the memory."""
    return factorise(read_table(path, {column: HISTORIES[column]}, only=True)[column])


def own_histories(run: Path, items: list[str]) -> Sequences | None:
    """The histories of all customers of the data set of a run that lies in results/; None if there are none.

    Args:
        run: folder of the run.
        items: ids in the order of their index.
    """
    patterns = layout.HISTORIES, layout.SEQUENCES, layout.VOCAB
    histories, sequences, vocab = (layout.existing(run, pattern) for pattern in patterns)
    if histories is not None:
        return read_histories(histories, items)
    return None if sequences is None or vocab is None else from_sequences(sequences, vocab, items)


def read_ids(path: Path) -> list[str]:
    """The item ids in a file: one per line, or the column item of a table (csv, tsv, parquet).

    Raises:
        DecorecError: the file is missing, damaged or no such table, or has no id.
    """
    expected = "item ids, one per line, or a table (csv, tsv, parquet) with a column item"
    if is_table(path):
        found = Table(table_file(path)).read_ids(expected)
    else:
        try:
            found = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DecorecError(f"{path}: expected {expected}, found {error}") from error
    ids = [text for text in map(str.strip, found) if text]
    if not ids:
        raise DecorecError(f"{path}: expected {expected}, found none; add some, or leave the key out")
    return ids


def expect_ids_alone(path: Path, ids: Sequence[str], known: Collection[str]) -> None:
    """Refuse lines of a text file where something stands beside an id, which would be unknown ids.

    Args:
        path: the file, for messages.
        ids: its lines.
        known: ids; if some of them have commas, semicolons, tabs, bars or quotes themselves, nothing is refused.

    Raises:
        DecorecError: there is such a line.
    """
    beside = [line for line in ids if BESIDE.search(line) and line not in known]
    if not beside or any(BESIDE.search(item) for item in known):
        return
    for line in beside:
        found = next((part for part in map(str.strip, BESIDE.split(line)) if part in known), None)
        if found is not None:
            raise DecorecError(
                f"{path}: expected one id on each line, found {line[:80]!r}, in which {found!r} is an item; write the "
                "ids alone, without quotes, or a csv file with a column item"
            )


def chosen(ids: Iterable[str], index: dict[str, int]) -> npt.NDArray[np.int64]:
    """The indices of those of the ids that are known, ascending."""
    return np.unique(np.array([index[item] for item in ids if item in index], dtype=np.int64))
