"""Step export: a trained run as vectors for an index, as ONNX, or as a folder that can be moved."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from decorec.artifacts import layout
from decorec.artifacts.files import atomic_path, write_arrays, write_json, write_table
from decorec.data.sequences import Sequences
from decorec.errors import DecorecError
from decorec.export.forward import PlainModel, plain
from decorec.export.onnx_file import onnx_bytes, onnx_scorer
from decorec.export.parity import CANDIDATES, TOLERANCE, Check, Scorer, check, check_histories, padded
from decorec.export.self_contained import write_self_contained
from decorec.models.checkpoint import versions
from decorec.recommend.histories import own_histories, read_histories
from decorec.recommend.self_contained import MANIFEST, measured
from decorec.recommend.trained import TrainedRun, load

__all__ = ["export"]

FORMATS = ("parquet", "npy", "safetensors", "onnx")
AT_ONCE = 512
EXACT = "The inner product of a query and an item is the model's score: a vector index gives the model's own list."
NEAR = (
    "The inner product of a query and an item is near to the model's score, which is no inner product. Ask the index "
    f"for {CANDIDATES} candidates, and let the model rank these: POST /recommend with `only`, or model.onnx. `recall` "
    "is the share of the model's first twelve items that are among the candidates."
)
SCORES = (
    "model.onnx: items [B, L] int64 (left-aligned, oldest first, at most `length`; anything behind the end), lengths "
    "[B] int64 -> scores [B, I] float32, as the model ranks where bought items are no candidates: leave these out. "
    "query.onnx: the same inputs -> the query vectors that belong to the vectors of the other formats."
)
log = logging.getLogger("decorec")


def export(
    *,
    run: Path,
    format: str | None = None,
    self_contained: bool = False,
    histories: Path | None = None,
    output: Path | None = None,
) -> None:
    """Write a trained run for other programs: vectors for an index, or the model as ONNX. Or, to move it, as a folder.

    Vectors and ONNX are compared with the model first. manifest.json says what lies beside it and how to use it.

    Args:
        run: folder of a trained run (read), such as results/shop/runs/decorec-plus/seed-0.
        format: parquet, npy or safetensors: vectors of all items, and query vectors of histories; onnx: the way from a
            history to the scores of all items, and to its query vector.
        self_contained: in place of a format: a folder with all that the run needs to recommend, on any machine, as
            --run of recommend and serve, or in Python.
        histories: what customers bought (read): histories.parquet, or a table (csv, tsv, parquet) with user, item and
            timestamp; they get query vectors, and up to 1,000 of them are checked; default: those of the run's data
            set, if the run lies in results/.
        output: folder (written); default: results/DATASET/export/RUN, or the folder self-contained in it.

    Raises:
        DecorecError: the model cannot be exported so, or what would be written is not what the model computes.
    """
    if self_contained == (format is not None):
        raise DecorecError("export: expected either --format or --self-contained, found both or none; give one of them")
    if format is not None and format not in FORMATS:
        raise DecorecError(f"--format: expected one of {', '.join(FORMATS)}, found {format!r}; correct it")
    trained = load(run)
    folder = output or layout.made_from(run, layout.EXPORT if format is not None else layout.SELF_CONTAINED)
    if trained.folder is not None and folder.resolve() in trained.folder.resolve().parents:
        raise DecorecError(f"{folder}: expected a folder to write to, found the one that holds the run; give another")
    if format is None:
        written = write_self_contained(trained, _emptied(folder), _model(trained, run))
        size = sum(file["bytes"] for file in written["files"].values())
        log.info("%s: %d files, %.1f MB", folder, len(written["files"]), size / 1e6)
        return
    model, users = plain(trained), _users(trained, run, histories)
    checked = check_histories(trained, users)
    vectors, length = model.vectors(), int(trained.run.model.length)
    if format == "onnx":
        content = {name: onnx_bytes(model, name) for name in ("scores", "queries")}
        found = check(trained, checked, onnx_scorer(content["scores"]), exact=True)
        _check_queries(model, checked, length, onnx_scorer(content["queries"]))
        files = _write_onnx(_emptied(folder), trained.items, content)
    else:
        found = check(trained, checked, lambda *asked: model.queries(*asked) @ vectors.items.T, vectors.exact)
        check(trained, checked, model, exact=True)
        arrays = {"items": vectors.items.contiguous().numpy()}
        names: list[str] = []
        if users is not None:
            names, arrays["queries"] = _queries(model, users, length)
        files = WRITERS[format](_emptied(folder), trained.items, names, arrays)
    write_json(folder / MANIFEST, _manifest(trained, run, format, files, found, vectors.exact, users is None))
    log.info("%s: %d items, checked with %d histories: %s", folder, len(trained.items), found.histories, asdict(found))


def _emptied(folder: Path) -> Path:
    """The folder without its manifest and the files that it names: those of another export beside new ones would be
    taken for these."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    if manifest.is_file():
        with suppress(ValueError, KeyError, TypeError):  # it is damaged
            for name in json.loads(manifest.read_text(encoding="utf-8"))["files"]:
                if ".." not in Path(name).parts:
                    (folder / name).unlink(missing_ok=True)
        manifest.unlink()
    return folder


def _users(trained: TrainedRun, run: Path, histories: Path | None) -> Sequences | None:
    """The histories that get query vectors; None if there are none.

    Raises:
        DecorecError: nobody has an item that the model knows.
    """
    found = own_histories(run, trained.items) if histories is None else read_histories(histories, trained.items)
    if found is not None and not len(found.items):
        raise DecorecError(
            f"{histories or run}: expected customers who bought items of the model's, such as {trained.items[0]!r}, "
            f"found none among {len(found.lengths)}; give other --histories"
        )
    return None if found is None else found.of(np.flatnonzero(found.lengths))


def _queries(model: PlainModel, users: Sequences, length: int) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Query vectors of all users, [U, W]."""
    places = np.arange(len(users.lengths))
    parts = [model.queries(*padded(users, places[n : n + AT_ONCE], length)) for n in range(0, len(places), AT_ONCE)]
    return users.users, np.concatenate([part.numpy() for part in parts]).astype(np.float32)


def _check_queries(model: PlainModel, histories: Sequences, length: int, scorer: Scorer) -> None:
    asked = padded(histories, np.arange(min(AT_ONCE, len(histories.lengths))), length)
    own = model.queries(*asked)
    apart = float((own - scorer(*asked)).abs().max())
    if apart > TOLERANCE * max(1.0, float(own.abs().max())):
        raise DecorecError(
            f"export: expected query vectors within {TOLERANCE:g} of the model's, found a difference of {apart:.2g}; "
            "nothing was written; use another format, and report it"
        )


Arrays = dict[str, npt.NDArray[np.float32]]


def _write_parquet(folder: Path, items: list[str], users: list[str], arrays: Arrays) -> list[Path]:
    written = [folder / "items.parquet"]
    vectors = pl.Series("vector", arrays["items"])
    write_table(written[0], _named(items).with_columns(vectors))
    if "queries" in arrays:
        written.append(folder / "queries.parquet")
        write_table(written[1], pl.DataFrame({"user": users, "vector": pl.Series(arrays["queries"])}))
    return written


def _write_npy(folder: Path, items: list[str], users: list[str], arrays: Arrays) -> list[Path]:
    written = _write_names(folder, items, users)
    for name, array in arrays.items():
        with atomic_path(folder / f"{name}.npy") as temporary:
            body = BytesIO()
            np.save(body, array, allow_pickle=False)
            temporary.write_bytes(body.getvalue())
        written.append(folder / f"{name}.npy")
    return written


def _write_safetensors(folder: Path, items: list[str], users: list[str], arrays: Arrays) -> list[Path]:
    write_arrays(folder / "vectors.safetensors", arrays)
    return [*_write_names(folder, items, users), folder / "vectors.safetensors"]


WRITERS: dict[str, Callable[[Path, list[str], list[str], Arrays], list[Path]]] = {
    "parquet": _write_parquet,
    "npy": _write_npy,
    "safetensors": _write_safetensors,
}


def _write_onnx(folder: Path, items: list[str], content: dict[str, bytes]) -> list[Path]:
    written = _write_names(folder, items, [])
    for name, file in (("scores", "model.onnx"), ("queries", "query.onnx")):
        with atomic_path(folder / file) as temporary:
            temporary.write_bytes(content[name])
        written.append(folder / file)
    return written


def _write_names(folder: Path, items: list[str], users: list[str]) -> list[Path]:
    """Ids in the order of the rows."""
    write_table(folder / "items.parquet", _named(items))
    if not users:
        return [folder / "items.parquet"]
    write_table(folder / "users.parquet", pl.DataFrame({"user": users}, {"user": pl.String}))
    return [folder / "items.parquet", folder / "users.parquet"]


def _named(items: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"index": range(len(items)), "item": items}, {"index": pl.Int32, "item": pl.String})


def _manifest(
    trained: TrainedRun, run: Path, format: str, files: list[Path], found: Check, exact: bool, random: bool
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "format": format,
        **_model(trained, run),
        "item_ids": "items.parquet",
        "files": {path.name: _facts(path) for path in files},
    }
    if format == "onnx":
        facts["use"] = SCORES
    else:
        facts["use"] = EXACT if exact else NEAR
        facts["exact"] = exact
        facts["recall"] = {"of": 12, "among": CANDIDATES, "candidates": found.recall, "same_lists": found.same_lists}
    facts["checked"] = {
        "histories": found.histories,
        "drawn": "at random" if random else "from the histories of the customers",
    }
    if format == "onnx" or exact:
        facts["checked"] |= {
            "largest_difference": found.largest_difference,
            "largest_score": found.largest_score,
            "same_lists": found.same_lists,
        }
    return facts


def _model(trained: TrainedRun, run: Path) -> dict[str, Any]:
    return {
        "model": trained.run.model.name,
        "run": str(run),
        "stage": trained.stage,
        "seed": trained.seed,
        "experts": trained.run.experts.active,
        "versions": versions(),
        "items": len(trained.items),
        "length": int(trained.run.model.length),
    }


def _facts(path: Path) -> dict[str, Any]:
    """Size, digest, and shapes and types of the arrays of a file."""
    facts = measured(path)
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        facts |= {"shape": list(array.shape), "dtype": str(array.dtype)}
    elif path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            parts = {name: file.get_slice(name) for name in sorted(file.keys())}
            facts["arrays"] = {name: {"shape": part.get_shape(), "dtype": "float32"} for name, part in parts.items()}
    elif path.suffix == ".parquet":
        schema, rows = pl.read_parquet_schema(path), pl.scan_parquet(path).select(pl.len()).collect().item()
        facts |= {"rows": rows, "columns": {name: str(kind) for name, kind in schema.items()}}
    return facts
