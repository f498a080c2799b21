"""Reads the JSON documents that steps leave for other steps, and checks what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from decorec.artifacts.files import read_json
from decorec.config.base import explain
from decorec.errors import DecorecError

__all__ = ["read_stored"]

T = TypeVar("T", bound=BaseModel)


def read_stored(path: Path, kind: type[T], advice: str = "delete the file and run its step again") -> T:
    """The document ``path`` as a ``kind``; ``advice`` ends the message where it is none.

    Raises:
        DecorecError: the file is missing, is not JSON, or lacks a value or has one of another type.
    """
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        raise DecorecError(f"{explain(error, str(path))}\n  {advice}") from error
