"""Step atomic-features: the given features of a data set in RecBole / UniSRec / MISSRec layout, one modality each.

``<name>.feat1CLS`` (text), ``<name>.feat3CLS`` (image) and others: raw little-endian float32 rows in the order of
``<name>.item2index``. Such a file says neither its type nor whose its rows are. One that ends in .parquet or
.safetensors says both: ids and vectors, in any order (``decorec.features.given``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from decorec.config.datasets import AtomicDataset
from decorec.data.atomic_files import read_index
from decorec.data.item_features import FeatureFile
from decorec.errors import DecorecError
from decorec.features.given import GivenVectors
from decorec.features.lengths import tell

__all__ = ["atomic_features"]
RAW = "write it with x.astype('<f4').tofile(path)"
FORMS = {
    b"\x93NUMPY": "an array of numpy (.npy)",
    b"PK\x03\x04": "an archive, as of torch (.pt) or numpy (.npz)",
    b"\x89HDF": "a file of HDF5",
    b"PAR1": "a parquet file, whose ending should be .parquet",
}
"""How a file of another form begins -> what it is."""
LOOKED_AT = 1 << 20
"""Values at the head of a raw file by which its type is judged."""
ENOUGH = 1_024
"""Different halves of float32 values. One in 32 has the exponent of an infinite float16; that none has is no chance."""


def atomic_features(*, dataset: AtomicDataset, modality: str, features: Path) -> None:
    """Read the given features of one modality of an atomic data set.

    Args:
        dataset: the data set, of the source atomic; its key features has the ending of each modality's file (read).
        modality: a key of dataset.features.
        features: MODALITY.safetensors (written): x [items, width] float32, present [items] and the item ids.

    Raises:
        DecorecError: there is no such modality, or its file is missing, of the wrong length, of another type or not
            finite, or no item has a vector.
    """
    if modality not in dataset.features:
        raise DecorecError(
            f"--modality: expected one of {', '.join(dataset.features)}, found {modality!r}; add the ending of its "
            "file to the key features of the data set"
        )
    stem = Path(dataset.path) / dataset.name
    names, path = read_index(Path(f"{stem}.item2index")), Path(f"{stem}.{dataset.features[modality]}")
    if dataset.by_item(modality):
        given = GivenVectors.read(path)
        x, present = given.of(names)
        metadata = given.metadata | {"source": path.name}
    else:
        x = _read_rows(path, names, dataset.width_of(modality))
        present, metadata = np.any(x != 0, axis=1), {"encoder": "given", "source": path.name}
    if not present.any():
        raise DecorecError(
            f"{path}: expected a vector of at least one of the {len(names)} items of .item2index, found none (a row of "
            f"zeros is an item without one); take the file of this data set, or {modality} out of model.modalities"
        )
    file = FeatureFile(x, present, names, metadata)
    if dataset.length is not None:
        file = file.of_length(dataset.length)
    file.write(features)
    tell(features, file, "length in the section of the data set")


def _read_rows(path: Path, names: list[str], width: int) -> npt.NDArray[np.float32]:
    """Raw float32 rows [items, width]; a row of zeros stands for an item without that modality."""
    if not path.is_file():
        raise DecorecError(f"{path}: expected features, found no such file; correct path and name of the data set")
    with path.open("rb") as handle:
        _expect_raw(path, handle.read(LOOKED_AT))
    expected, found = len(names) * width * 4, path.stat().st_size
    if expected != found:
        other = {expected / 2: "float16", expected * 2: "float64"}.get(found)
        advice = (
            f"that is the size of {other}: {RAW}"
            if other
            else "set datasets.<name>.width or take the file that belongs to .item2index"
        )
        raise DecorecError(
            f"{path}: expected {len(names)} items x {width} values x 4 bytes = {expected} bytes, found {found} "
            f"({found / 4 / len(names):g} values per item); {advice}"
        )
    x: npt.NDArray[np.float32] = np.fromfile(path, dtype="<f4").reshape(len(names), width)
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise DecorecError(
            f"{path}, row {row} (item {names[row]!r}): expected finite values of float32, found NaN or infinity; "
            f"correct them (a row of zeros is an item without a vector); of another type, {RAW}"
        )
    other = _other_type(x.ravel()[:LOOKED_AT])
    if other:
        raise DecorecError(f"{path}: expected values of float32, found those of {other}; {RAW}")
    return x


def _expect_raw(path: Path, head: bytes) -> None:
    """Refuse a file of another form, which may have a length that fits."""
    form = next((form for magic, form in FORMS.items() if head.startswith(magic)), "")
    if head and not head.translate(None, bytes(range(32, 127)) + b"\t\r\n"):
        form = f"text ({head[:20].decode()!r})"
    if form:
        raise DecorecError(f"{path}: expected raw rows of float32, found {form}; read it and {RAW}")


def _other_type(values: npt.NDArray[np.float32]) -> str:
    """float16 or float64 if these are bytes of such values, "" if they are float32.

    Of float64 that once were float32, the lower word has three bits at most; as float32, where the last of them is set,
    that is 1e-19 or 4e19. Of float16, no half has the exponent of infinity; of float32, the lower half is any number.
    """
    words = values.view("<u4")
    lower = words[: len(words) // 2 * 2 : 2]
    if (lower & 0x20000000).any() and not (lower & 0x1FFFFFFF).any():
        return "float64"
    halves = np.unique(words & 0xFFFF)
    finite = ((halves & 0x7C00) != 0x7C00).all() and ((words >> 16 & 0x7C00) != 0x7C00).all()
    return "float16" if len(halves) >= ENOUGH and finite else ""
