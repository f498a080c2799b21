"""Rows of features that are kept between runs, so that only what is new is encoded."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from decorec.artifacts.files import read_arrays, write_arrays
from decorec.artifacts.seal import provenance

__all__ = ["RowCache", "input_key"]

WHERE = "weights"
"""What tells where weights lie, which does not change a row; their digest does."""


def input_key(kind: str, content: str) -> bytes:
    """Key of one input of the encoder, 32 bytes."""
    return hashlib.sha256(f"{kind}:{content}".encode()).digest()


class RowCache:
    """The rows of one encoder: one file per chunk of inputs that were encoded together.

    A row depends on the encoder, the size of its batches and its own input alone. So a file says nothing of the tables
    that its inputs stood in, which may be others now.
    """

    def __init__(self, cache: Path, encoder: Mapping[str, str], batch_size: int) -> None:
        made_by = {name: value for name, value in encoder.items() if name != WHERE}
        key = json.dumps([made_by, batch_size], sort_keys=True)
        self.folder = cache / "features" / hashlib.sha256(key.encode()).hexdigest()

    def read(self, keys: Sequence[bytes]) -> dict[int, tuple[npt.NDArray[np.float32], bool]]:
        """Position in ``keys`` -> row [width] and whether its text was cut, of those that are known.

        The time of the folder says when its rows were last asked for, so that what is not used can be found.

        Raises:
            DecorecError: a file is damaged.
        """
        with suppress(FileNotFoundError):
            os.utime(self.folder)
        positions = {key: position for position, key in enumerate(keys)}
        found: dict[int, tuple[npt.NDArray[np.float32], bool]] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            with provenance():
                arrays, _ = read_arrays(path)
            for row, key in enumerate(arrays["keys"]):
                position = positions.get(key.tobytes())
                if position is not None:
                    found[position] = arrays["x"][row], bool(arrays["truncated"][row])
        return found

    def add(self, keys: Sequence[bytes], x: npt.NDArray[np.float32], truncated: npt.NDArray[np.bool_]) -> None:
        """Keep the rows ``x`` [keys, width] of a chunk."""
        joined = b"".join(keys)
        digests = np.frombuffer(joined, dtype=np.uint8).reshape(len(keys), -1)
        file = self.folder / f"{hashlib.sha256(joined).hexdigest()}.safetensors"
        with provenance():
            write_arrays(file, {"keys": digests, "x": x, "truncated": truncated})
