"""Files of arrays: what the library of the format writes, without a copy in memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from decorec.artifacts.files import KINDS, read_arrays, write_arrays


def parts(content: bytes) -> tuple[list[tuple[str, Any]], bytes]:
    """The entries of the header, but for the metadata, and the data."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header.pop("__metadata__", None)
    return list(header.items()), content[8 + size :]


def test_a_file_has_the_arrays_as_the_library_puts_them(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {f"b {kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in KINDS}
    arrays |= {"a float32": np.ones((4, 2), np.float32).T, "empty": np.empty((0, 3), np.int64), "one": np.array(7.0)}
    write_arrays(tmp_path / "f.safetensors", arrays, {"name": "value"})
    whole = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    entries, data = parts((tmp_path / "f.safetensors").read_bytes())
    expected, other = parts(whole)
    assert sorted(entries) == sorted(expected) and data == other
    found, metadata = read_arrays(tmp_path / "f.safetensors")
    assert metadata == {"name": "value"} and found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], np.atleast_1d(array))


def test_no_copy_is_made_of_an_array(tmp_path: Path) -> None:
    array = np.ones((1000, 1000), np.float32)
    write_arrays(tmp_path / "f.safetensors", {"x": array})  # what is imported on the way
    tracemalloc.start()
    write_arrays(tmp_path / "f.safetensors", {"x": array})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < array.nbytes / 10
