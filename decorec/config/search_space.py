"""What a search space may hold: values that tuning can try with a run, at keys that its trials heed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice, product
from typing import Any

from pydantic import ValidationError

from decorec.config.base import explain
from decorec.config.runs import Run, with_values

__all__ = ["expect_search_space"]

COMBINATIONS = 10_000
"""Combinations of values which are checked beforehand: more than the search space of any model has."""


def expect_search_space(run: Run, space: Mapping[str, list[Any]] | None, place: str, origin: str) -> None:
    """Refuse values that cannot be tried, and keys that no trial heeds.

    Args:
        run: the run with its own values.
        space: key of the run -> values to try; None: those of its model, whose keys are all heeded.
        place: the key or flag that has ``space``, for messages.
        origin: the key or flag that has ``run``, for messages.

    Raises:
        ValueError: a value is out of bounds or asks for another run, or a key changes no trial.
    """
    if space is None:
        _expect_values_of_the_run(run, run.model.space, origin)
        return
    if "model.name" in space:
        raise ValueError(f"{place}: expected keys of its model, found model.name; declare a run of the other one")
    _expect_values_of_the_run(run, space, origin)
    _expect_an_effect(run, space, place)


def _expect_values_of_the_run(run: Run, space: Mapping[str, list[Any]], origin: str) -> None:
    """Refuse values that are out of bounds, or with which the run would have other stages or read more."""
    for values in islice(product(*space.values()), COMBINATIONS):
        chosen = dict(zip(space, values, strict=True))
        try:
            tried = with_values(run, chosen)
        except ValidationError as error:
            raise ValueError(explain(error, f"{origin}, where tuning tries {chosen}", Run)) from error
        if tried.stages != run.stages or not tried.every_need() <= run.every_need():
            raise ValueError(
                f"{origin}, where tuning tries {chosen}: expected values that leave its stages and what it reads "
                "alone; declare another run"
            )


def _expect_an_effect(run: Run, space: Mapping[str, list[Any]], place: str) -> None:
    """Refuse a key that changes no trial in any combination of the others."""
    idle = [key for key, values in space.items() if any(with_values(run, {key: one}) != run for one in values)]
    for values in islice(product(*space.values()), COMBINATIONS):
        if not idle:
            return
        tried = with_values(run, dict(zip(space, values, strict=True)))
        idle = [key for key in idle if _same(tried, with_values(tried, {key: run.at(key)}))]
    if idle:
        raise ValueError(
            f"{place}: expected keys that change what its trials compute, found {', '.join(idle)}, which no trial of "
            f"its model ({run.model.name}) heeds: each trains from nothing, in one process, and is judged by NDCG@10; "
            f"remove {'it' if len(idle) == 1 else 'them'}"
        )


def _same(one: Run, other: Run) -> bool:
    """Whether trials of two runs with the same stages compute the same."""
    one, other = one.trial(), other.trial()
    return all(one.for_stage(stage).dump() == other.for_stage(stage).dump() for stage in one.stages)
