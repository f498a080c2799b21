"""The input files of a training, made from sequences that no step of the workflow has written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decorec.artifacts.files import by_stem
from decorec.config.runs import Run
from decorec.data.sequences import Sequences, write_vocab
from decorec.prepare.clustering import cluster
from decorec.prepare.cooccurrence import cooccurrence

__all__ = ["training_files"]


def training_files(
    run: Run, sequences: Sequences, items: list[str], features: Sequence[Path], folder: Path, threads: int = 1
) -> dict[str, Any]:
    """Write what a run needs besides the features, by the steps that write it in the workflow.

    Args:
        run: its model decides what is needed, in any of its stages.
        sequences: of the items.
        items: ids in the order of their index.
        features: MODALITY.safetensors (read) of some modalities, of these items and maybe of others.
        folder: where the files are written.
        threads: number of threads of the counting.

    Returns:
        the input files of the step train, by the names of its arguments.

    Raises:
        DecorecError: an item has no row in a file of features.
    """
    needs = run.every_need()
    vocab, data, graph = (folder / name for name in ("vocab.parquet", "sequences.parquet", "cooccurrence.npz"))
    write_vocab(vocab, items)
    sequences.write(data)
    clustered = {
        folder / "interests" / path.name: path
        for modality, path in by_stem(features).items()
        if {f"interests.{modality}", f"centroids.{modality}"} & needs
    }
    counted = "graph" in needs or bool(clustered)
    if counted:
        cooccurrence(settings=run.graph, vocab=vocab, sequences=data, matrix=graph, threads=threads)
    for interests, path in clustered.items():
        cluster(settings=run.interests, cooccurrence=graph, vocab=vocab, features=path, interests=interests)
    return {
        "vocab": vocab,
        "sequences": data,
        "features": list(features),
        "interests": list(clustered),
        "cooccurrence": graph if counted else None,
    }
