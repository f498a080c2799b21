"""The one thread that asks the model. What arrives while it is busy is its next batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from decorec.errors import DecorecError
from decorec.recommend.score_parts import ScoreParts
from decorec.recommend.trained import Recommendation, TrainedRun
from decorec.serve.bodies import Because, Recommend, Recommended, Similar
from decorec.serve.catalogue import Catalogue
from decorec.serve.clusters import Clusters
from decorec.serve.meters import Meters

__all__ = ["BusyError", "Loaded", "Worker"]

MOST_AT_ONCE = 256
MOST_WAITING = 2_048


class BusyError(Exception):
    """More requests wait than the server takes."""


@dataclass(frozen=True)
class Loaded:
    """A model in memory, with its representations computed."""

    trained: TrainedRun
    weights: str
    """sha256 of model.safetensors."""
    vectors: bool
    """Whether it has a vector for each item."""
    parts: ScoreParts
    clusters: Clusters
    catalogue: Catalogue
    catalogue_state: tuple[Any, ...]
    """What differs when the catalogue was read from other files, or from others than before."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class _Job:
    asked: Recommend | Similar
    within: frozenset[str] | None
    """Candidates that the category leaves; None: all."""
    answer: Future[list[Recommended]]


class Worker:
    """Owns the model, which is not safe for several threads.

    ``current`` may be read by all: what it names does not change. A new model waits in the same queue as the requests:
    those before it are answered by the old one, those after it by the new one.
    """

    def __init__(self, loaded: Loaded, meters: Meters) -> None:
        self.current = loaded
        self._meters = meters
        self._queue: SimpleQueue[_Job | Loaded | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model")
        meters.waiting.set_function(self._queue.qsize)
        self._take(loaded)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, then end."""
        self._queue.put(None)
        self._thread.join()

    def ask(self, asked: Recommend | Similar, within: frozenset[str] | None = None) -> Future[list[Recommended]]:
        """The answer, later; a DecorecError where it is refused.

        Args:
            asked: the body of a request.
            within: the only candidates besides those that the body names; None: all.

        Raises:
            BusyError: too many requests wait.
        """
        if self._queue.qsize() >= MOST_WAITING:
            raise BusyError(f"{MOST_WAITING} requests wait; try again later")
        answer: Future[list[Recommended]] = Future()
        self._queue.put(_Job(asked, within, answer))
        return answer

    def swap(self, loaded: Loaded) -> None:
        """Answer with this model what is asked from now on."""
        self._queue.put(loaded)

    def _take(self, loaded: Loaded) -> None:
        self.current = loaded
        self._meters.items.set(len(loaded.trained.items))
        self._meters.loaded.set(loaded.at.timestamp())

    def _work(self) -> None:
        ended = False
        while not ended:
            jobs: list[_Job] = []
            for found in self._arrived():
                if isinstance(found, _Job):
                    jobs.append(found)
                    continue
                self._answer(jobs)
                jobs = []
                if found is None:
                    ended = True
                else:
                    self._take(found)
            self._answer(jobs)

    def _arrived(self) -> list[_Job | Loaded | None]:
        """Everything that waits, in order; at least one."""
        found = [self._queue.get()]
        while len(found) < MOST_AT_ONCE:
            try:
                found.append(self._queue.get_nowait())
            except Empty:
                break
        return found

    def _answer(self, jobs: Iterable[_Job]) -> None:
        """One call of the model for all recommendations among the same candidates, and one for each similar item."""
        calls: dict[Any, list[_Job]] = {}
        for job in jobs:
            if job.answer.set_running_or_notify_cancel():  # not where the client has gone
                key = id(job) if isinstance(job.asked, Similar) else _kind(job.asked, job.within)
                calls.setdefault(key, []).append(job)
        for together in calls.values():
            start = time.perf_counter()
            try:
                answers = self._call(together)
            except Exception as error:  # the requests of this call fail; the thread must live on
                for job in together:
                    job.answer.set_exception(error)
            else:
                for job, answer in zip(together, answers, strict=True):
                    if isinstance(answer, DecorecError):
                        job.answer.set_exception(answer)
                    else:
                        job.answer.set_result(answer)
            self._meters.batch.observe(len(together))
            self._meters.scoring.observe(time.perf_counter() - start)

    def _call(self, jobs: Sequence[_Job]) -> list[list[Recommended] | DecorecError]:
        trained = self.current.trained
        first = jobs[0].asked
        if isinstance(first, Similar):
            return [[_described(found) for found in trained.similar(first.item, first.k)]]
        asked = [job.asked for job in jobs if isinstance(job.asked, Recommend)]
        # A longer list without the items that one request excludes is the list among the other candidates: so requests
        # that differ in these alone share a call.
        excluded = [{item for item in one.exclude_items if item in trained.index} for one in asked]
        found = trained.recommend_many(
            [one.history for one in asked],
            max(one.k + len(gone) for one, gone in zip(asked, excluded, strict=True)),
            exclude=first.exclude,
            only=_only(first, jobs[0].within),
            fallback=first.fallback,
            times=None if first.times is None else [one.times or [] for one in asked],
        )
        answers: list[list[Recommended] | DecorecError] = []
        for one, gone, ranked in zip(asked, excluded, found, strict=True):
            left = [each for each in ranked if each.item not in gone][: one.k]
            if gone and not left:
                try:
                    trained.candidates(gone, _only(first, jobs[0].within))
                except DecorecError as error:
                    answers.append(error)
                    continue
            answers.append(self._explained(one, [_described(each) for each in left]))
        return answers

    def _explained(self, asked: Recommend, found: list[Recommended]) -> list[Recommended]:
        """With the reasons that were asked for."""
        if asked.explain:
            self._add_nearest(asked.history, found)
        if asked.parts and found and found[0].reason == "model":
            items = [each.item for each in found]
            parts = self.current.parts.of(asked.history, items, asked.exclude, asked.times)
            for each, made_of in zip(found, parts, strict=True):
                if made_of is not None:
                    each.modalities, each.parts = made_of.modalities, made_of.log_odds
        if asked.clusters:
            for each in found:
                each.clusters = self.current.clusters.of(each.item, asked.history)
        return found

    def _add_nearest(self, history: Sequence[str], found: Sequence[Recommended]) -> None:
        """The nearest item of the history; of several equally near ones, the newest."""
        trained = self.current.trained
        known = list(dict.fromkeys(item for item in reversed(history) if item in trained.index))
        if self.current.vectors and known and found:
            cosines = trained.embed([each.item for each in found]) @ trained.embed(known).T
            for each, row, best in zip(found, cosines, np.argmax(cosines, 1), strict=True):
                each.because = Because(item=known[best], cosine=float(row[best]))


def _kind(asked: Recommend, within: frozenset[str] | None) -> tuple[Any, ...]:
    """What requests of one call have in common."""
    only = None if asked.only is None else frozenset(asked.only)
    return asked.exclude, asked.fallback, asked.times is None, only, within


def _only(asked: Recommend, within: frozenset[str] | None) -> Iterable[str] | None:
    if asked.only is None or within is None:
        return within if asked.only is None else asked.only
    return within.intersection(asked.only)


def _described(found: Recommendation) -> Recommended:
    return Recommended(item=found.item, score=found.score, reason=found.reason)
