"""Step model-card: what the model for production is, where it comes from, how good it is, and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from decorec.artifacts import layout
from decorec.artifacts.files import by_stem, read_json, write_text
from decorec.artifacts.schemas.ranks import HISTORIES
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import Sequences
from decorec.data.training_history import best_epoch
from decorec.errors import DecorecError
from decorec.recommend.trained import TrainedRun, load

__all__ = ["model_card"]

SHOWN = ("Hit@10", "NDCG@10")


def model_card(
    *,
    model: Path,
    twin: Path,
    metrics: Path,
    sequences: Path,
    features: list[Path],
    counts: Path | None = None,
    output: Path,
) -> None:
    """Write the card of the model for production.

    Args:
        model: model.safetensors of its last stage (read), with config.json beside it.
        twin: history.parquet of the last stage of the twin (read), which was trained with validation.
        metrics: metrics.json of the twin (read).
        sequences: the sequences that the model was trained on (read).
        features: MODALITY.safetensors (read) of each modality that the model reads.
        counts: ingest.json (read), if the data set has one.
        output: the card (written), Markdown.

    Raises:
        DecorecError: a file is missing, damaged, or not of this format.
    """
    trained, figures, data = load(model.parent), read_json(metrics), Sequences.read(sequences)
    dataset = layout.wildcards_of(model, layout.PRODUCTION_MODEL)["dataset"]
    place = layout.wildcards_of(metrics, layout.METRICS)
    epochs = best_epoch(twin) + 1
    parts = [
        f"# The model for production of {dataset}",
        _model(trained, place, epochs),
        _data(trained, data, counts),
        _quality(metrics, figures),
        _encoders(features),
        _limits(trained, data),
    ]
    write_text(output, "\n\n".join(parts) + "\n")


def _model(trained: TrainedRun, place: Mapping[str, str], epochs: int) -> str:
    size = sum(parameter.numel() for parameter in trained.model.parameters())
    experts = (
        " Its scores are multiplied with counted experts (section `experts`)." if trained.run.experts.active else ""
    )
    stages = f", its last stage for {epochs} epochs, as validation chose for the twin" if size else ""
    folder = layout.fill(layout.PRODUCTION, dataset=place["dataset"])
    return (
        "## Model\n\n"
        f"The run `{place['run']}` (model `{trained.run.model.name}`), seed {trained.seed}, {size:,} parameters"
        f"{stages}.{experts} It was trained on all interactions, also the last of every customer. All its values "
        f"stand in `{trained.stage}/config.json`.\n\n"
        f'Use: `decorec.load("{folder}")`, or the key `production` of the section `recommend`.'
    )


def _data(trained: TrainedRun, data: Sequences, counts: Path | None) -> str:
    lines = [f"{len(data.users):,} customers, {len(trained.items):,} items, {len(data.items):,} interactions."]
    if data.timestamps is not None and len(data.timestamps):
        days = [datetime.fromtimestamp(int(t), UTC).date() for t in (data.timestamps.min(), data.timestamps.max())]
        lines.append(f"The first is of {days[0]}, the last of {days[1]} (UTC).")
    else:
        lines.append("The source has no times.")
    if counts is not None:
        found = read_json(counts)
        try:
            source = found["interactions"]
            lines.append(
                f"The source has {source['users']:,} customers and {source['items']:,} items with an interaction; the "
                "others were dropped by the filter."
            )
        except (KeyError, TypeError) as error:
            raise DecorecError(
                f"{counts}: expected the counts of the step ingest, found no {error}; run it again"
            ) from error
    return "## Data\n\n" + " ".join(lines)


def _quality(file: Path, figures: Any) -> str:
    rows = ["| items | history | " + " | ".join(SHOWN) + " |", "|---|---|" + "---:|" * len(SHOWN)]
    try:
        for part, name in (("valid", "validation"), ("test", "test")):
            for history in HISTORIES:
                values = " | ".join(f"{figures[part][history][metric]:.4f}" for metric in SHOWN)
                rows.append(f"| {name} | {history} | {values} |")
        users = f"{figures['users']:,}"
    except (KeyError, TypeError, ValueError) as error:
        raise DecorecError(
            f"{file}: expected the metrics of the step evaluate, found no {error}; run it again"
        ) from error
    return (
        "## Quality\n\nThis model has seen every interaction, so no figure can be measured on it. Its twin has the "
        "same values and seed and was trained without the targets of validation and test. "
        f"One seed, {users} customers with a test target:\n\n" + "\n".join(rows)
    )


def _encoders(features: list[Path]) -> str:
    lines = []
    for modality, path in by_stem(features).items():
        file = FeatureFile.read(path, mapped=True)
        share = f"{int(file.present.sum()):,} of {len(file.items):,} items have one."
        lines.append(f"- {modality}: {_encoder(file.metadata)} {share}")
    return "## Encoders and their licences\n\n" + ("\n".join(lines) or "None: the model reads ids alone.")


def _encoder(facts: Mapping[str, str]) -> str:
    kind = facts.get("encoder", "given")
    packages = {
        "clip": "open_clip",
        "open_clip": "open_clip",
        "sentence-transformers": "sentence-transformers",
        "timm": "timm",
    }
    if kind in packages:
        return (
            f"{packages[kind]} `{facts.get('model')}` with the weights `{facts.get('weights') or 'published'}`. Their "
            "licence is that of their publisher; read it before you sell what is made with them."
        )
    if kind == "given":
        source = facts.get("source", "a file")
        return f"given (`{source}`). Their licence is that of the data set and of its encoder."
    kinds = {"fit": "an encoder that was trained", "lsa": "TF-IDF and a singular value decomposition, computed"}
    return f"{kinds.get(kind, kind)} on this shop's own items; no weights of others."


def _limits(trained: TrainedRun, data: Sequences) -> str:
    rare = int((trained.counts < 5).sum())
    lines = [
        f"- It knows {len(trained.items):,} items and passes over all others in a history. A product that came later "
        "is never recommended until it is added (`decorec add-items`) or the model is trained again.",
        "- A customer of whose history it knows no item gets what is popular.",
        f"- It reads the last {int(trained.run.model.length)} items of a history.",
        f"- {rare:,} of its items have fewer than five interactions; what it says of them rests on few.",
        "- It learned what was bought after what. It knows no prices, no stock and no seasons.",
    ]
    if data.timestamps is not None:
        step = np.diff(data.timestamps // 86_400)
        inside = np.ones(len(step), dtype=bool)
        inside[data.offsets[1:-1] - 1] = False
        share = float((step[inside] == 0).mean()) if inside.any() else 0.0
        lines.append(
            f"- {100 * share:.1f} % of the interactions are of the same day as the one before: to that extent it "
            "completes baskets, and does not foresee the next visit."
        )
    return "## Limits\n\n" + "\n".join(lines)
