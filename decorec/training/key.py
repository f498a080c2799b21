"""Which training a kept state belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from decorec import gpus
from decorec.artifacts.seal import digest_in
from decorec.models.checkpoint import versions
from decorec.processor import pinned

__all__ = ["training_key"]


def training_key(*values: Any, files: Iterable[Path | None]) -> str:
    """A text that is the same only for trainings that go through the same numbers.

    Args:
        values: all values that the training depends on, for JSON: of the run, the seed, the fingerprint of the code.
        files: the input files, in a fixed order; one that is missing or None counts as such. Their contents count: a
            file that was made anew from other sources, and says so in its seal, is the same if it holds the same.
    """
    known = [_digest(file) if file is not None and file.is_file() else None for file in files]
    key = json.dumps([values, known, versions(), gpus.device().type, torch.get_num_threads(), pinned()], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()


def _digest(file: Path) -> str:
    if sealed := digest_in(file):
        return sealed
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
