"""Step recommend: lists for all customers of a source, or for those in a file, or the items similar to one."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from ctypes import CDLL
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from polars.io.plugins import register_io_source

from decorec.acquire.sources.files import is_table
from decorec.acquire.sources.losses import expect_spelling
from decorec.artifacts import layout
from decorec.artifacts.files import atomic_path, read_table, write_csv, write_table
from decorec.artifacts.schemas.recommendations import REASONS, RECOMMENDATIONS
from decorec.config.recommend import RecommendConfig
from decorec.data.contract import check_recommendations
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.recommend.histories import expect_ids_alone, from_sequences, read_histories, read_ids
from decorec.recommend.new_items import DESCRIPTIONS, read_descriptions
from decorec.recommend.trained import Lists, Recommendation, TrainedRun, load

__all__ = ["recommend"]

log = logging.getLogger("decorec")
CUSTOMERS_AT_ONCE = 10_000


def recommend(
    *,
    run: Path,
    settings: RecommendConfig = RecommendConfig(),  # noqa: B008 (a constant: sections are frozen)
    histories: Path | None = None,
    sequences: Path | None = None,
    vocab: Path | None = None,
    catalogue: Path | None = None,
    similar_to: str | None = None,
    output: Path | None = None,
    threads: int = 1,
) -> None:
    """Give each customer the best items after the whole history, or show the items that are similar to one.

    Every customer in the input gets a list: those whose history has an item that the model knows by the model, the
    others by settings.fallback.

    Args:
        run: folder of a trained run and seed, such as results/shop/runs/decorec-plus/seed-0 (read).
        settings: the section recommend of the configuration; its keys run and production are not used here.
        histories: what customers bought (read): histories.parquet, or a table (csv, tsv, parquet) with user, item and
            timestamp, in the form of the source table's interactions.
        sequences: sequences.parquet (read), in place of histories, where the source has no others.
        vocab: vocab.parquet (read), with sequences.
        catalogue: items.parquet (read), where settings.categories names some; default: that of the run's data set, if
            the run lies in results/ or in a self-contained folder.
        similar_to: id of an item: the k most similar ones that are candidates are shown, and no histories are read.
        output: the lists (written, parquet or csv): user, rank (from 1), item, score (comparable within one list only),
            reason (model, or popular); similar items: rank, item, score. By default they are printed as csv.
        threads: number of threads of torch.

    Raises:
        DecorecError: a file is missing or damaged, or no candidate is left.
    """
    torch.set_num_threads(threads)
    trained = load(run)
    candidates = trained.candidates(*_restrictions(settings, catalogue, trained))
    if similar_to is not None:
        _write(_similar(_nearest(trained, similar_to, settings.k, candidates)), output)
        return
    found = _histories(trained, histories, sequences, vocab)
    place = output or Path("recommendations")
    made = Counter[str]()

    def parts() -> Iterator[pl.DataFrame]:
        for begin in range(0, len(found.lengths), CUSTOMERS_AT_ONCE):
            some = found.of(np.arange(begin, min(begin + CUSTOMERS_AT_ONCE, len(found.lengths))))
            lists = trained.lists(some, settings.k, settings.exclude, candidates, settings.fallback)
            taken = _bought(some, len(trained.items)) if settings.exclude == "bought" else np.empty(0, np.int64)
            check_recommendations(place, lists.items, len(trained.items), taken, candidates)
            made["popular"] += int(lists.popular.sum())
            made["without"] += int((lists.items[:, 0] < 0).sum())
            yield _table(trained.items, some.users, lists)
            _release()

    _write(_streamed(parts), output)
    if len(found.lengths) and not len(found.items):
        log.warning("recommend: nobody has an item of the model's, such as %r; do the ids agree?", trained.items[0])
    log.info(
        "recommend: %d customers, %d of them by popularity, %d without a list; %d items, %d of them candidates",
        len(found.lengths),
        made["popular"],
        made["without"],
        len(trained.items),
        len(trained.items) if candidates is None else len(candidates),
    )


def _streamed(parts: Callable[[], Iterator[pl.DataFrame]]) -> pl.LazyFrame:
    """A table that is made while it is written: twelve rows for each of a million customers take more than a GB."""

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, most: int | None, batch: int | None
    ) -> Iterator[pl.DataFrame]:
        # The writers ask for all columns and rows.
        return parts()

    return register_io_source(source, schema=pl.Schema(RECOMMENDATIONS))


def _release() -> None:
    """Give free memory back to the system.

    glibc keeps what lies between pieces that are in use, which after the blocks of scores of a million customers, all
    of different sizes, is more than half a GB. Other C libraries have no such function.
    """
    trim = getattr(CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _bought(found: Sequences, items: int) -> npt.NDArray[np.int64]:
    """user x items + item of everything that the users bought, ascending."""
    return np.sort(found.owners * items + found.items)


def _histories(trained: TrainedRun, histories: Path | None, sequences: Path | None, vocab: Path | None) -> Sequences:
    if histories is not None:
        return read_histories(histories, trained.items)
    if sequences is not None and vocab is not None:
        return from_sequences(sequences, vocab, trained.items)
    raise DecorecError(
        "recommend: expected --histories, --sequences with --vocab, or --similar-to, found none of them; pass one"
    )


def _restrictions(
    settings: RecommendConfig, catalogue: Path | None, trained: TrainedRun
) -> tuple[list[str], list[str] | None]:
    """Items that nobody gets, and the only candidates (None: all)."""
    excluded = [] if settings.exclude_items is None else _named(Path(settings.exclude_items), trained)
    only = None if settings.only is None else _named(Path(settings.only), trained)
    if not settings.categories:
        return excluded, only
    if catalogue is None and trained.folder is not None:
        catalogue = layout.existing(trained.folder, layout.CATALOGUE)
    if catalogue is None:
        raise DecorecError("recommend: settings.categories needs --catalogue (items.parquet), found none; pass it")
    columns = {name: DESCRIPTIONS[name] for name in ("item", "categories")}
    added = read_descriptions(trained.folder).select(*columns)
    items = pl.concat([read_table(catalogue, columns, only=True), added]).unique("item", keep="first")
    known = set(items["categories"].explode().drop_nulls())
    missing = [name for name in settings.categories if name not in known]
    if missing:
        raise DecorecError(
            f"recommend.categories: expected categories of {catalogue} (such as {', '.join(sorted(known)[:5])}), found "
            f"{', '.join(missing)}; correct them"
        )
    inside = items.filter(pl.col("categories").list.set_intersection(settings.categories).list.len() > 0)["item"]
    return excluded, inside.to_list() if only is None else sorted(set(inside) & set(only))


def _named(path: Path, trained: TrainedRun) -> list[str]:
    """The ids in a file; how many the model knows is told, since the others change nothing."""
    ids = read_ids(path)
    if not is_table(path):
        expect_ids_alone(path, ids, trained.index)
    expect_spelling(str(path), pl.Series(ids), trained.items)
    known = sum(item in trained.index for item in ids)
    log.log(
        logging.INFO if known else logging.WARNING,
        "%s: %d ids, %d of them of the model's items (such as %r and %r)",
        path,
        len(ids),
        known,
        ids[0],
        trained.items[0],
    )
    return ids


def _nearest(trained: TrainedRun, item: str, k: int, candidates: npt.NDArray[np.int64] | None) -> list[Recommendation]:
    """The most similar items among the candidates (None: all)."""
    if candidates is None:
        return trained.similar(item, k)
    allowed = {trained.items[place] for place in candidates}
    return [one for one in trained.similar(item, len(trained.items)) if one.item in allowed][:k]


def _table(names: list[str], users: list[str], lists: Lists) -> pl.DataFrame:
    """One row per item of a list."""
    there = lists.items >= 0
    rows, ranks = np.nonzero(there)
    columns = {
        "user": pl.Series(users, dtype=pl.String).gather(rows),
        "rank": ranks + 1,
        "item": pl.Series(names, dtype=pl.String).gather(lists.items[there]),
        "score": lists.scores[there],
        "reason": pl.Series(REASONS).gather(lists.popular[rows].astype(np.int64)),
    }
    return pl.DataFrame(columns).cast(pl.Schema(RECOMMENDATIONS))


def _similar(found: list[Recommendation]) -> pl.LazyFrame:
    rows = [(rank, one.item, one.score) for rank, one in enumerate(found, 1)]
    columns = {name: RECOMMENDATIONS[name] for name in ("rank", "item", "score")}
    return pl.LazyFrame(rows, columns, orient="row")


def _write(frame: pl.LazyFrame, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(frame.collect().write_csv())
    elif output.suffix == ".csv" and layout.place_of(output):
        write_csv(output, frame.collect())
    elif output.suffix == ".csv":
        with atomic_path(output) as temporary:  # outside of results/ nobody expects a seal beside it
            frame.sink_csv(temporary)
    elif output.suffix == ".parquet":
        write_table(output, frame)
    else:
        raise DecorecError(f"{output}: expected a name that ends in .parquet or .csv, found another; rename it")
