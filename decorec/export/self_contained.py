"""A trained run as a folder that recommends wherever it is moved (``decorec.recommend.self_contained``)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from decorec.artifacts import layout
from decorec.artifacts.files import atomic_path
from decorec.artifacts.seal import place_in
from decorec.errors import DecorecError
from decorec.models.added_items import trained_model
from decorec.recommend.new_items import ADDED, DESCRIBED
from decorec.recommend.self_contained import FORMAT, MANIFEST, measured
from decorec.recommend.trained import TrainedRun, load

__all__ = ["write_self_contained"]

WEIGHTS = "model.safetensors"
USE = (
    "decorec.load(FOLDER), decorec recommend --run FOLDER, decorec serve --run FOLDER, on any machine with "
    "these versions. There are no pictures and no histories of customers in it."
)


def write_self_contained(trained: TrainedRun, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Copy what the run needs into an empty ``folder``, and load it from there.

    Args:
        trained: a run that was loaded from its folder.
        folder: written.
        facts: what the manifest says besides.

    Returns:
        the manifest.

    Raises:
        DecorecError: the run refers to features that lie outside of results/.
    """
    copied = _files(trained)
    for name, path in copied.items():
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(path, temporary)
    manifest = {
        "format": FORMAT,
        **facts,
        "folder": Path(next(iter(copied))).parent.as_posix(),
        "files": {name: measured(folder / name) for name in sorted(copied)},
        "use": USE,
    }
    with atomic_path(folder / MANIFEST) as temporary:  # the last one: until then the folder is no run
        temporary.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    load(folder)
    return manifest


def _files(trained: TrainedRun) -> dict[str, Path]:
    """What is copied, by its path in the folder: weights (the first), configuration and added items; features that are
    not among the weights; catalogue and card."""
    run = trained.folder
    assert run is not None
    written = layout.place_of(run / WEIGHTS) or place_in(run / WEIGHTS)
    place = Path(layout.path_of(written)).parent if written else Path()
    found = {str(place / name): run / name for name in (WEIGHTS, "config.json", ADDED, DESCRIBED)}
    for name, file in trained_model(trained.model).item_data.mapped.items():
        if not (written and layout.place_of(file.path)):
            raise DecorecError(
                f"{file.path}: expected the {name} of {run / WEIGHTS} in results/, found them elsewhere, so that a "
                "folder that is moved would not find them; train the run with features in results/"
            )
        found[layout.path_of(layout.place_of(file.path))] = file.path
    card = layout.of_dataset(run, layout.PRODUCTION_CARD)
    known = [layout.existing(run, layout.CATALOGUE), card if card is not None and card.parent == run.parent else None]
    found |= {layout.path_of(layout.place_of(path)): path for path in known if path is not None}
    return {name: path for name, path in found.items() if path.is_file()}
