"""Step split: keeps items with the required modalities, takes the k-core, makes every user's sequence, divides it."""

from __future__ import annotations

import logging
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
from decorec.data.id_codes import Codes, codes_in, factorise, first_appearances, sorted_by
from decorec.data.item_features import FeatureFile
from decorec.data.parts import by_time
from decorec.data.sequences import Sequences, check_sequences, write_vocab
from decorec.errors import DecorecError

__all__ = ["split"]

log = logging.getLogger("decorec")
COLUMNS: dict[str, Any] = {"user": pl.String, "item": pl.String, "timestamp": pl.Int64}


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
    """Drop items without a required modality, take the k-core, and sort each user's interactions by time.

    Interactions with equal times keep their order in the file. Users are in order of their first row, items in order of
    their first appearance in the sequences, user after user. The split is leave-one-out and needs no file of its own: a
    user's last item is for testing, the one before it for validation.

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
    table = read_table(interactions, COLUMNS)
    names = read_table(catalogue, {"item": pl.String})["item"]
    item = codes_in(table["item"], names)
    if len(item) and item.min() < 0:
        raise DecorecError(
            f"{interactions}: expected items of {catalogue}, found {int((item < 0).sum())} interactions of others "
            f"(such as {table['item'][int(item.argmin())]!r}); run the ingest step again"
        )
    if settings.protocol == "temporal" and (unknown := table["timestamp"].null_count()):
        raise DecorecError(
            f"{interactions}: expected a timestamp in every row (split.protocol: temporal), found {unknown} without; "
            "add the times, or set split.protocol to leave-one-out"
        )
    user, users = factorise(table["user"])
    filtered = Filtered.start(user, item)
    filtered.note("given", {})
    files = by_stem(features)
    for modality in ("text", "image"):
        if modality in filter.require:
            if modality not in files:
                raise DecorecError(f"--features: expected {modality}.safetensors (filter.require), found none; pass it")
            _, present = FeatureFile.read(files[modality]).aligned(names.to_list())
            filtered.keep(present, f"items with {modality}", f"item without {modality}")
    filtered.core(filter.kcore, "lower filter.kcore, shorten filter.require, or add data")
    time = table["timestamp"].to_numpy()
    rows = sorted_by(user, sorted_by(time, filtered.rows))
    result, known = _sequences(user[rows], item[rows], time[rows], users)
    if settings.protocol == "temporal":
        result = replace(result, split=by_time(result.offsets, time[rows], settings.quantile))
    summary = describe(result, len(known), filtered.steps, settings.protocol, settings.quantile)
    check_sequences(sequences, result, len(known), complete=True)
    write_vocab(vocab, names.gather(known).to_list())
    result.write(sequences)
    write_json(statistics, summary)
    log.info(
        "split: %d interactions in, %d of %d users and %d items out", len(table), len(rows), len(users), len(known)
    )


def _sequences(user: Codes, item: Codes, time: npt.NDArray[np.int64], users: pl.Series) -> tuple[Sequences, Codes]:
    """Sequences from interactions sorted by user and time, and the old code of each item, by its new index."""
    known = first_appearances(item, int(item.max()) + 1)
    index = np.empty(int(item.max()) + 1, dtype=np.int32)
    index[known] = np.arange(len(known), dtype=np.int32)
    lengths = np.bincount(user)
    kept = np.flatnonzero(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths[kept])])
    return Sequences(users.gather(kept).to_list(), offsets, index[item], time), known
