"""What a user's interactions are for: training, validation or test.

A sequence is divided by positions, so a part begins where the one before it ends: the first interactions are for
training, then come the validation target and the test target. Interactions that are in no part are history alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from decorec.errors import DecorecError

__all__ = ["Parts", "Split", "by_time", "leave_one_out", "point_in_time", "whole"]

Split = Literal["valid", "test"]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """The parts of each user's sequence, as positions from 0; arrays [users] int64."""

    training: IntArray
    """Number of interactions in the training part, the user's first ones; 0: none."""
    valid: IntArray
    """Position of the validation target; -1: none."""
    test: IntArray
    """Position of the test target; -1: none."""

    def target(self, split: Split) -> IntArray:
        """Position of each user's target of ``split``, or -1."""
        return self.valid if split == "valid" else self.test

    def of(self, users: IntArray) -> Parts:
        """The parts of some users, by their indices."""
        return Parts(self.training[users], self.valid[users], self.test[users])


def whole(lengths: IntArray) -> Parts:
    """Sequences of ``lengths`` [users] that are all for training."""
    none = np.full(len(lengths), -1)
    return Parts(lengths, none, none)


def leave_one_out(lengths: IntArray) -> Parts:
    """The last item of a user is the test target, the one before it the validation target, the rest for training."""
    return Parts(lengths - 2, lengths - 2, lengths - 1)


def point_in_time(times: npt.NDArray[np.int64], quantile: float) -> float:
    """The time that the share ``quantile`` of ``times`` does not exceed, linear between two times."""
    return float(np.quantile(times, quantile))


def by_time(offsets: IntArray, times: npt.NDArray[np.int64], quantile: float) -> Parts:
    """One point in time T for all users, and before it another one, T_valid, by the same procedure.

    T is the quantile of all times, T_valid that of the times up to T. An interaction exactly at a point lies before it.
    The training part are the interactions up to T_valid. The test target is the user's first item after T, the
    validation target the first after T_valid that lies before T. A target has an item before it: where all of a user's
    items are later, the first is history alone and the second is the target.

    Args:
        offsets: [users + 1] begin of each user in ``times``.
        times: [interactions] seconds, ascending within a user.
        quantile: share of the interactions before a point.

    Raises:
        DecorecError: no user has a target of one part.
    """
    lengths = np.diff(offsets)
    test_point = point_in_time(times, quantile)
    valid_point = point_in_time(times[times <= test_point], quantile)
    before, training = (_counts(offsets, times <= point) for point in (test_point, valid_point))
    parts = Parts(training, _first(training, before), _first(before, lengths))
    for name, point, targets in (("validation", valid_point, parts.valid), ("test", test_point, parts.test)):
        if targets.max(initial=-1) < 0:
            raise DecorecError(
                f"split: expected users with a {name} target, an interaction after the time {point:.0f} and before "
                f"the next point (quantile {quantile:g}), found none; lower split.quantile, or set split.protocol to "
                "leave-one-out"
            )
    return parts


def _counts(offsets: IntArray, chosen: npt.NDArray[np.bool_]) -> IntArray:
    """Number of ``chosen`` interactions of each user."""
    found: IntArray = np.diff(np.concatenate([[0], np.cumsum(chosen)])[offsets])
    return found


def _first(begin: IntArray, end: IntArray) -> IntArray:
    """The first position from ``begin`` on that is not the user's first item; -1 if it is not before ``end``."""
    position = np.maximum(begin, 1)
    return np.where(position < end, position, -1)
