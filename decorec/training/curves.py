"""Curves of a training for TensorBoard: loss, validation metrics and seconds of every epoch, written as it goes.

They are for people: no step reads them, and the training computes the same without them. A training that continues goes
on in a new file, which says from which epoch on; TensorBoard then leaves out what the stopped one had written of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

__all__ = ["Curves"]

FILES = "events.out.tfevents.*"


class Curves:
    """The folder of events of one training; a context that closes its file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer: SummaryWriter | None = None

    def begin(self, done: Sequence[Mapping[str, Any]]) -> None:
        """Begin after the epochs that are done, those of a training that continues.

        What another training has left here is removed. If there is nothing, as when the curves were switched on
        meanwhile, the epochs that are done are written, without their seconds.
        """
        left = sorted(self.folder.glob(FILES))
        if not done:
            for file in left:
                file.unlink()
        self.writer = SummaryWriter(str(self.folder), purge_step=len(done) if done and left else None)
        for row in () if left else done:
            self.add(row, None)

    def add(self, row: Mapping[str, Any], seconds: float | None) -> None:
        """Write an epoch: a row of the history, and what it took, of a continued one since it went on."""
        assert self.writer is not None
        for name, value in row.items():
            if name != "epoch" and value is not None:
                self.writer.add_scalar(name if name == "loss" else f"validation/{name}", value, row["epoch"])
        if seconds is not None:
            self.writer.add_scalar("seconds", seconds, row["epoch"])
        self.writer.flush()  # before the state of the training can be kept that has this epoch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()
