"""Reading and writing of the pipeline's files.

Every writer writes a temporary file and renames it, so that a reader never sees an incomplete file; equal content gives
equal bytes. Every artifact carries a seal (see ``decorec.artifacts.seal``), which its reader checks. For a missing,
damaged or misplaced file, every reader raises an error with its name.
"""

from __future__ import annotations

import fcntl
import glob
import json
import mmap
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.io.plugins import register_io_source

from decorec.artifacts import seal
from decorec.errors import DecorecError, explain, explaining

__all__ = [
    "atomic_path",
    "by_stem",
    "read_arrays",
    "read_csv",
    "read_json",
    "read_sparse",
    "read_table",
    "read_text",
    "sealed_path",
    "write_arrays",
    "write_csv",
    "write_json",
    "write_sparse",
    "write_table",
    "write_text",
]

T = TypeVar("T")

KEY = "seal"
"""Key of the seal among the metadata of a parquet or safetensors file, and in a JSON object."""
KINDS = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}
"""Types as numpy and safetensors name them; those at the end come first in a file."""
ROW_GROUP = 122_880
"""Rows that polars has in a row group, as nearly as it can."""
COMMENTS = {".html": ("<!-- ", " -->\n"), ".svg": ("<!-- ", " -->\n")}
"""What surrounds the seal at the end of a text file; other text has none, as no step reads it."""


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Files by the name of their modality, which is their stem (``text`` for features/text.safetensors).

    Raises:
        DecorecError: two files have the same stem.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise DecorecError(
                f"{path}: expected one file per modality, found {found[path.stem]} of the same name; pass one of them"
            )
        found[path.stem] = path
    return found


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``target``; rename it to ``target`` on success, delete it otherwise.

    Those that killed processes have left beside ``target`` are deleted.

    Raises:
        DecorecError: the operating system refuses, such as on a full disk.
    """
    with explaining(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _delete_leftovers(target)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        temporary = Path(name)
        try:
            with suppress(OSError):  # a file system without flock, on which nobody deletes what others left
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield temporary
            temporary.chmod(0o644)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())  # or a power cut can leave the new name on an empty file
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)


def _delete_leftovers(target: Path) -> None:
    with suppress(OSError):
        for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
            with suppress(BlockingIOError), part.open("r+") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()


@contextmanager
def sealed_path(target: Path) -> Iterator[tuple[Path, str]]:
    """Like ``atomic_path``, with the seal that has to be written into the file."""
    with atomic_path(target) as temporary:
        yield temporary, seal.opened(target)
        seal.close(temporary, target)


def _read(path: Path, kind: str, reader: Callable[[Path], T], holder: Path | None = None, sealed: bool = True) -> T:
    if path.is_dir():
        raise DecorecError(f"{path}: expected {kind}, found a folder; move it away and run the step that writes it")
    if not path.is_file():
        raise DecorecError(f"{path}: expected {kind}, found no such file; run the step that writes it")
    try:
        if sealed:
            seal.check(path, holder)
        return reader(path)
    except DecorecError:
        raise
    except Exception as error:
        raise explain(error, path) or DecorecError(
            f"{path}: expected {kind}, found a file that cannot be read ({error}); delete it and run its step again"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; a page or a drawing gets its seal in a comment at the end."""
    if path.suffix not in COMMENTS:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return
    before, after = COMMENTS[path.suffix]
    with sealed_path(path) as (temporary, mark):
        temporary.write_text(f"{text}{before}{mark}{after}", encoding="utf-8")


def read_text(path: Path) -> str:
    """Read UTF-8 text, without its seal.

    Raises:
        DecorecError: the file is missing, is not UTF-8, or is not as it was written.
    """
    text = _read(path, "a text file", lambda file: file.read_text(encoding="utf-8"), sealed=path.suffix in COMMENTS)
    before, after = COMMENTS.get(path.suffix, ("", ""))
    start = text.rfind(f"{before}{seal.MARK}") if before and text.endswith(after) else -1
    return text if start < 0 else text[:start]


def write_csv(path: Path, frame: pl.DataFrame, decimals: int | None = None) -> None:
    """Write ``frame`` as csv, and its seal beside it (NAME.csv.seal), since a csv file has no room for comments.

    Args:
        path: the csv file.
        frame: the table; missing values are written as empty.
        decimals: of floats; by default as many as a float has.
    """
    with atomic_path(path) as temporary, atomic_path(_beside(path)) as holder:
        holder.write_text(seal.opened(path) + "\n", encoding="utf-8")
        frame.write_csv(temporary, float_precision=decimals)
        seal.close(temporary, path, holder)
    seal.counted(path, frame.height, written=True)


def read_csv(path: Path) -> pl.DataFrame:
    """Read a csv file written by ``write_csv``, with types from all of its rows.

    Raises:
        DecorecError: the file is missing, is not csv, or is not as it was written.
    """
    frame = _read(path, "a csv file", partial(pl.read_csv, infer_schema_length=None, glob=False), _beside(path))
    seal.counted(path, frame.height)
    return frame


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.seal")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as indented JSON, with keys in the given order and the seal at the end; NaN is refused."""
    with sealed_path(path) as (temporary, mark):
        text = json.dumps({**value, KEY: mark}, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read one JSON document, without its seal.

    Raises:
        DecorecError: the file is missing, is not JSON, or is not as it was written.
    """

    def reader(file: Path) -> Any:
        value = json.loads(file.read_text(encoding="utf-8"))
        return {key: item for key, item in value.items() if key != KEY} if isinstance(value, dict) else value

    return _read(path, "a JSON file", reader)


def write_table(
    path: Path, frame: pl.DataFrame | pl.LazyFrame, types: Mapping[str, pl.DataType | type[pl.DataType]] | None = None
) -> None:
    """Write ``frame`` as parquet (zstd); a lazy one part by part, so that it is never whole in memory.

    Columns in ``types`` become of these types only as they are written, part by part; the file has the bytes that it
    would have if they were so before.
    """
    if types and isinstance(frame, pl.DataFrame):
        frame = _becoming(frame, types)
    with sealed_path(path) as (temporary, mark):
        if isinstance(frame, pl.LazyFrame):
            frame.sink_parquet(temporary, compression="zstd", metadata={KEY: mark}, engine="streaming")
        else:
            frame.write_parquet(temporary, compression="zstd", metadata={KEY: mark})
        lazy = pl.scan_parquet(temporary, glob=False) if isinstance(frame, pl.LazyFrame) else frame.lazy()
        rows = lazy.select(pl.len()).collect().item()
    seal.counted(path, rows, written=True)


def _becoming(frame: pl.DataFrame, types: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.LazyFrame:
    """The table with other types, one row group after the other, as polars divides a whole table into them."""
    few = max(len(frame) // ROW_GROUP, 1)
    count = min(few, few + 1, key=lambda groups: abs(len(frame) / groups - ROW_GROUP))
    sizes = [len(frame) // count + (number < len(frame) % count) for number in range(count)]

    def parts(columns: list[str] | None, rows: pl.Expr | None, most: int | None, size: int | None) -> Any:
        begin = 0
        for height in sizes:
            yield frame[begin : begin + height].cast(pl.Schema(types))
            begin += height

    return register_io_source(parts, schema={**frame.schema, **types})


def read_table(
    path: Path, columns: Mapping[str, pl.DataType | type[pl.DataType]] | None = None, *, only: bool = False
) -> pl.DataFrame:
    """Read a parquet table and check that it has ``columns`` (name -> type); others are kept, but for ``only``.

    With ``only``, a column of strings may be asked for as categories: it is then never in memory as strings.

    Raises:
        DecorecError: the file is missing, is not parquet, is not as it was written, or lacks such a column.
    """
    frame = _read(path, "a parquet table", lambda file: _parquet(file, columns or {}, only))
    seal.counted(path, frame.height)
    for name, dtype in (columns or {}).items():
        if name not in frame.columns:
            raise DecorecError(f"{path}: expected a column {name!r}, found {frame.columns}; run its step again")
        if frame.schema[name] != dtype:
            stored = pl.String if isinstance(dtype, pl.Categorical) else dtype
            raise DecorecError(
                f"{path}: expected column {name!r} of type {stored}, found {frame.schema[name]}; run its step again"
            )
    return frame


def _parquet(file: Path, columns: Mapping[str, pl.DataType | type[pl.DataType]], only: bool) -> pl.DataFrame:
    """The table, or those of the columns that it has."""
    if not only:
        return pl.read_parquet(file, glob=False)
    found = {name: dtype for name, dtype in pl.read_parquet_schema(file).items() if name in columns}
    categories = {
        name: pl.col(name).cast(columns[name])
        for name, dtype in found.items()
        if dtype == pl.String and isinstance(columns[name], pl.Categorical)
    }
    return pl.scan_parquet(file, glob=False).select(list(found)).with_columns(**categories).collect(engine="streaming")


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays and text metadata as safetensors, array by array, so that memory holds none of them twice.

    Format: 8 bytes little-endian header length, JSON header padded with blanks to a multiple of 8, data. The library
    writes metadata in an order that differs between processes, but equal content must give equal bytes.
    """
    order = list(KINDS)
    names = sorted(arrays, key=lambda name: (-order.index(arrays[name].dtype.name), name))
    contents = {name: np.ascontiguousarray(arrays[name]) for name in names}
    with sealed_path(path) as (temporary, mark), temporary.open("wb") as handle:
        header: dict[str, Any] = {"__metadata__": dict(sorted({**(metadata or {}), KEY: mark}.items()))}
        end = 0
        for name, array in contents.items():
            begin, end = end, end + array.nbytes
            kind = KINDS[array.dtype.name]
            header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [begin, end]}
        encoded = json.dumps(header, separators=(",", ":")).encode()
        encoded += b" " * (-len(encoded) % 8)
        handle.write(len(encoded).to_bytes(8, "little") + encoded)
        for array in contents.values():
            handle.write(array.data)


def read_arrays(path: Path, mapped: Collection[str] = ()) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Read a safetensors file; returns (arrays by name, metadata without the seal).

    Args:
        path: the file.
        mapped: names of arrays that stay on the disk: parts of them are read when they are used. What is written into
            such an array stays in memory and does not change the file.

    Raises:
        DecorecError: the file is missing, is not safetensors, or is not as it was written.
    """

    def reader(file: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
        from safetensors import safe_open

        with safe_open(file, framework="numpy") as handle:
            metadata = handle.metadata() or {}
            metadata.pop(KEY, None)
            names = set(handle.keys())
            arrays = {name: handle.get_tensor(name) for name in sorted(names - set(mapped))}
        return arrays | _mapped(file, names & set(mapped)), metadata

    return _read(path, "a safetensors file", reader)


def _mapped(file: Path, names: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a safetensors file (see ``write_arrays``) that are not read yet."""
    found: dict[str, npt.NDArray[Any]] = {}
    kinds = {kind: np.dtype(name) for name, kind in KINDS.items()}
    with file.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(size))
    for name in sorted(names):
        kind, shape = kinds[header[name]["dtype"]], tuple(header[name]["shape"])
        if 0 in shape:  # which cannot be mapped
            found[name] = np.empty(shape, kind)
            continue
        array = np.memmap(file, kind, "c", 8 + size + header[name]["data_offsets"][0], shape)
        array._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]  # or each row brings 128 KB with it
        found[name] = array
    return found


def write_sparse(path: Path, matrix: Any) -> None:
    """Write a scipy CSR matrix as .npz (uncompressed, equal matrices give equal bytes), its seal as comment."""
    import scipy.sparse

    with sealed_path(path) as (temporary, mark):
        with temporary.open("wb") as handle:
            scipy.sparse.save_npz(handle, matrix.tocsr(), compressed=False)
        with ZipFile(temporary, "a") as archive:
            archive.comment = mark.encode()


def read_sparse(path: Path) -> Any:
    """Read a scipy CSR matrix from .npz.

    Raises:
        DecorecError: the file is missing, is not a sparse matrix, or is not as it was written.
    """
    import scipy.sparse

    return _read(path, "a sparse matrix (.npz)", lambda file: scipy.sparse.load_npz(file).tocsr())
