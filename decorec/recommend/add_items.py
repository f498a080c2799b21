"""Step add-items: a trained run that also recommends new items, without training."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from decorec.artifacts import layout
from decorec.artifacts.files import write_arrays, write_csv, write_table
from decorec.artifacts.seal import provenance
from decorec.models import checkpoint
from decorec.recommend.extensible import load
from decorec.recommend.histories import read_histories
from decorec.recommend.new_items import ADDED, DESCRIBED, UNPICTURED, write_added

__all__ = ["add_items"]

log = logging.getLogger("decorec")


def add_items(
    *,
    run: Path,
    items: Path,
    exposure: float = 1.0,
    features: list[Path] | None = None,
    encoder: Path | None = None,
    histories: Path | None = None,
    output: Path | None = None,
    threads: int = 1,
) -> None:
    """Let a trained run recommend new items as well, without training.

    A new item gets its place from the known items that are like it in text and picture, and from how like a customer's
    history it is. The order of the known items among each other does not change. The folder that is written is used
    like that of a trained run. Train with the new items once they have been bought a few times.

    Args:
        run: folder of a trained run (read), such as results/shop/runs/decorec-plus/seed-0 or results/shop/production.
        items: table of items (read; csv, tsv, parquet): item, and any of title, brand, category, description and image
            (an address, or a file relative to the folder of the table). Items that the run knows are passed over.
        exposure: how often new items stand in the first ten places of the customers' lists, on average, divided by
            their share of all items.
        features: MODALITY.safetensors of the known items (read), or vectors of one's own of known and new ones
            (parquet: item, vector); default: those of the run's data set in results/.
        encoder: encoder.safetensors that these were made with (read); default: that of the run's data set.
        histories: what customers bought (read): histories.parquet, or a table (csv, tsv, parquet) with user, item and
            timestamp; default: that of the run's data set.
        output: folder (written): the model and config of the run, added.safetensors, added.parquet, which names the
            new items, and without-picture.csv, which says which of them have no usable picture, and why; default:
            results/DATASET/added/RUN.
        threads: number of threads.

    Raises:
        DecorecError: an input is missing or damaged, or no item of the table is new.
    """
    torch.set_num_threads(threads)
    trained = load(run)
    folder = output or layout.made_from(run, layout.ADDED)
    known = None if histories is None else read_histories(histories, trained.items)
    extended = trained.add_items(
        items, exposure=exposure, features=features or None, encoder=encoder, histories=known, threads=threads
    )
    _announce(folder)
    own = trained.checkpoint
    weights, config = folder / "model.safetensors", folder / "config.json"
    checkpoint.save(own.model, own.run, own.seed, own.items, own.counts, weights, config)
    new = extended.new
    assert new is not None
    write_table(folder / DESCRIBED, new.described)
    write_csv(folder / UNPICTURED, new.without_picture)
    write_added(extended.checkpoint, folder)
    log.info("%s: %d items, and %d new ones", folder, len(trained.items), len(new.ids))
    bare = new.without_picture
    if len(bare):
        log.warning(
            "%d new items of %s have no usable picture, %d of which name one: %s says which, and why",
            bare["item"].n_unique(),
            items,
            bare.drop_nulls("url")["item"].n_unique(),
            folder / UNPICTURED,
        )


def _announce(folder: Path) -> None:
    """Say that items are about to be added to the run in ``folder``: until they are, it is refused.

    Otherwise a folder whose writing was cut off would be the run without them. Items of an earlier time stay: they
    belong to the weights beside them, or are refused as well.
    """
    if not (folder / ADDED).is_file():
        with provenance():  # of its own: the model is not made from it
            write_arrays(folder / ADDED, {}, {"weights_sha256": ""})
