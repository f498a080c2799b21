"""Step split: keeps items with the required modalities, takes the k-core, makes every user's sequence, divides it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts.files import by_stem, read_table, write_json
from decorec.config.prepare import FilterConfig, SplitConfig
from decorec.data.dataset_statistics import describe
from decorec.data.filtering import Filtered
from decorec.data.id_codes import Codes, categories, codes_in, factorise, first_appearances, ids, numbers, sorted_by
from decorec.data.item_features import FeatureFile
from decorec.data.parts import by_time
from decorec.data.sequences import Sequences, check_sequences, write_vocab
from decorec.errors import DecorecError

__all__ = ["split"]

log = logging.getLogger("decorec")


def split(
    *,
    filter: FilterConfig,
    settings: SplitConfig,
    interactions: Path,
    catalogue: Path,
    features: list[Path],
    vocab: Path,
    sequences: Path,
    statistics: Path,
    threads: int = 1,
) -> None:
    """Drop items without a required modality, take the k-core, sort and divide each user's interactions by time.

    Interactions with equal times keep their order in the file. Users are in order of their first row, items in order of
    their first appearance in the sequences, user after user.

    Args:
        filter: the section filter of the configuration.
        settings: the section split of the configuration.
        interactions: interactions.parquet (read): user, item, timestamp.
        catalogue: items.parquet (read): item.
        features: MODALITY.safetensors (read) of each modality in filter.require.
        vocab: vocab.parquet (written): index, item.
        sequences: sequences.parquet (written): user, items (indices, oldest first), timestamps (seconds since 1970),
            training (number of items in the training part), valid and test (positions of the targets; null: none).
        statistics: statistics.json (written): counts of the data set and of its split, and what each pass of the filter
            dropped.
        threads: number of threads of polars.

    Raises:
        DecorecError: a file is missing or damaged, an interaction has an unknown item or (where it is divided by time)
            an unknown time, none is left, or no user has a target.
    """
    result, items, steps = _filtered(filter, settings, interactions, catalogue, by_stem(features))
    if settings.protocol == "temporal":
        assert result.timestamps is not None
        result = replace(result, split=by_time(result.offsets, result.timestamps, settings.quantile))
    summary = describe(result, len(items), steps, settings.protocol, settings.quantile)
    check_sequences(sequences, result, len(items), complete=True)
    write_vocab(vocab, items)
    result.write(sequences)
    write_json(statistics, summary)
    log.info(
        "split: %d interactions in, %d of %d users and %d items out",
        steps[0]["interactions"],
        len(result.items),
        len(result.users),
        len(items),
    )


def _filtered(
    filter: FilterConfig, settings: SplitConfig, interactions: Path, catalogue: Path, features: Mapping[str, Path]
) -> tuple[Sequences, list[str], list[dict[str, Any]]]:
    """The sequences of what the filter leaves, the items in the order of their index, and the steps of the filter."""
    table = read_table(interactions, {"user": ids(), "item": ids(), "timestamp": pl.Int64}, only=True)
    names = read_table(catalogue, {"item": pl.String}, only=True)["item"]
    if missing := len(table) - len(table.select("user", "item").drop_nulls()):
        raise DecorecError(
            f"{interactions}: expected a user and an item in every row, found {missing} rows without; run the ingest "
            "step again"
        )
    user, users = factorise(table.drop_in_place("user"))
    item = codes_in(categories(table["item"]), names).astype(np.int32)[numbers(table["item"])]
    if len(item) and item.min() < 0:
        raise DecorecError(
            f"{interactions}: expected items of {catalogue}, found {np.count_nonzero(item < 0)} interactions of others "
            f"(such as {table['item'][int(item.argmin())]!r}); run the ingest step again"
        )
    if settings.protocol == "temporal" and (unknown := table["timestamp"].null_count()):
        raise DecorecError(
            f"{interactions}: expected a timestamp in every row (split.protocol: temporal), found {unknown} without; "
            "add the times, or set split.protocol to leave-one-out"
        )
    time = table["timestamp"].to_numpy()
    del table
    filtered = Filtered.start(user, item)
    filtered.note("given", {})
    for modality in ("text", "image"):
        if modality in filter.require:
            if modality not in features:
                raise DecorecError(f"--features: expected {modality}.safetensors (filter.require), found none; pass it")
            _, present = FeatureFile.read(features[modality]).aligned(names.to_list())
            filtered.keep(present, f"items with {modality}", f"item without {modality}")
    filtered.core(filter.kcore, "lower filter.kcore, shorten filter.require, or add data")
    rows = sorted_by(user, sorted_by(time, np.flatnonzero(filtered.left)))
    result, known = _sequences(user[rows], item[rows], time[rows], users)
    return result, names.gather(known).to_list(), filtered.steps


def _sequences(user: Codes, item: Codes, time: npt.NDArray[np.int64], users: pl.Series) -> tuple[Sequences, Codes]:
    """Sequences from interactions sorted by user and time, and the old code of each item, by its new index."""
    known = first_appearances(item, int(item.max()) + 1)
    index = np.empty(int(item.max()) + 1, dtype=np.int32)
    index[known] = np.arange(len(known), dtype=np.int32)
    lengths = np.bincount(user)
    kept = np.flatnonzero(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths[kept])])
    return Sequences(users.gather(kept).to_list(), offsets, index[item], time), known
